package frontend;

import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * The open connections of one port, and each address's number of them. If the port is full, the
 * address with the most connections loses the one that has been idle longest. If none is idle, the new one gets no place.
 */
public final class Connections {
    /** A connection, as it is counted; idle ones may be ended from any thread. */
    interface Open {
        String peer();

        /** The System.nanoTime() since which no request is under way; 0 while one is. */
        long idleSince();

        void end();
    }

    private static final Set<Connections> PORTS = ConcurrentHashMap.newKeySet();
    private static final long LOOK_MS = 10;
    private static volatile boolean ending;

    private final Set<Open> open = new HashSet<>();
    private final Set<Open> outside = new HashSet<>();
    private final Map<String, Integer> byPeer = new HashMap<>();

    public Connections() {
        PORTS.add(this);
    }

    /** Whether the server ends: the next answer of each connection is its last. */
    static boolean areEnding() {
        return ending;
    }

    /** Returns when no port has a request under way, and after a while in any case. */
    static void finish() throws InterruptedException {
        ending = true;
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Settings.END_S);
        while (!PORTS.stream().allMatch(Connections::areIdle) && System.nanoTime() < end) {
            TimeUnit.MILLISECONDS.sleep(LOOK_MS);
        }
    }

    private synchronized boolean areIdle() {
        return open.stream().allMatch(each -> each.idleSince() != 0);
    }

    /** Whether the connection has a place. One address has at most three quarters of them. */
    synchronized boolean enter(Open made) {
        int most = Settings.FAIR ? Settings.CONNECTIONS / 4 * 3 : Settings.CONNECTIONS;
        boolean greedy = byPeer.getOrDefault(made.peer(), 0) >= most;
        if ((greedy || open.size() >= Settings.CONNECTIONS) && !endIdle(greedy ? made.peer() : null)) {
            return false;
        }
        outside.remove(made);
        open.add(made);
        byPeer.merge(made.peer(), 1, Integer::sum);
        return true;
    }

    /** Whether a connection that got no place may wait for one, unread. */
    synchronized boolean queue(Open made) {
        return outside.size() < Settings.CONNECTIONS / 2 && outside.add(made);
    }

    synchronized void leave(Open gone) {
        outside.remove(gone);
        if (open.remove(gone)) {
            byPeer.computeIfPresent(gone.peer(), (peer, count) -> count > 1 ? count - 1 : null);
        }
    }

    /** Ends an idle connection, of that address if one is given. False if there is none. */
    private boolean endIdle(String peer) {
        long now = System.nanoTime();
        Map<Open, Long> idle = new HashMap<>(); // read once: they change meanwhile
        for (Open each : open) {
            long since = each.idleSince();
            if (since != 0 && now - since > Settings.IDLE_NS && (peer == null || peer.equals(each.peer()))) {
                idle.put(each, since);
            }
        }
        Optional<Open> found = idle.keySet().stream()
                .min(Comparator.<Open>comparingInt(each -> -byPeer.get(each.peer())).thenComparingLong(idle::get));
        found.ifPresent(this::leave);
        found.ifPresent(Open::end);
        return found.isPresent();
    }
}
