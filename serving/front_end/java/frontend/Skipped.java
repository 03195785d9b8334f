package frontend;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;

/**
 * The pauses that clients did not wait for: they closed the connection. The next connections of their addresses begin
 * with them. A pause is dropped when it is over. If an address may be many clients (fair_queue), none is kept.
 */
final class Skipped {
    private static final Map<String, Deque<Pause>> BY_PEER = new HashMap<>();
    private static int count;

    private Skipped() {}

    static synchronized void add(String peer, Pause pause) {
        if (count >= Settings.CONNECTIONS) {
            forget();
        }
        if (Settings.FAIR && pause.left() > 0 && count < Settings.CONNECTIONS) {
            BY_PEER.computeIfAbsent(peer, first -> new ArrayDeque<>()).add(pause);
            count++;
        }
    }

    /** A pause that is not over, which the address has then made; or null. */
    static synchronized Pause take(String peer) {
        Deque<Pause> skipped = BY_PEER.get(peer);
        Pause found = null;
        while (found == null && skipped != null && !skipped.isEmpty()) {
            Pause pause = skipped.poll();
            count--;
            found = pause.left() > 0 ? pause : null;
        }
        if (skipped != null && skipped.isEmpty()) {
            BY_PEER.remove(peer);
        }
        return found;
    }

    private static void forget() {
        BY_PEER.values().forEach(skipped -> skipped.removeIf(pause -> pause.left() <= 0));
        BY_PEER.values().removeIf(Deque::isEmpty);
        count = BY_PEER.values().stream().mapToInt(Deque::size).sum();
    }
}
