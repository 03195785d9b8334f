package frontend;

import java.util.HashMap;
import java.util.Map;
import org.pytorch.serve.util.ConfigManager;

/** The bytes of request bodies, over HTTP and gRPC, that all connections hold together, and each address's part of them. */
final class Budget {
    static final String FULL = "The requests under way hold as many bytes as the server has room for; retry after "
            + Settings.RETRY_AFTER_S + " s.";

    private static final Map<String, Long> BY_PEER = new HashMap<>();
    private static long held;

    private Budget() {}

    /** Reserves bytes; false if too few are left. One address gets at most three quarters, or a largest message twice. */
    static synchronized boolean take(String peer, long bytes) {
        long own = BY_PEER.getOrDefault(peer, 0L) + bytes;
        long share = Math.max(Settings.REQUEST_BYTES / 4 * 3, 2L * ConfigManager.getInstance().getMaxRequestSize());
        long most = Settings.FAIR ? share : Settings.REQUEST_BYTES;
        if (held + bytes > Settings.REQUEST_BYTES || own > most) {
            return false;
        }
        held += bytes;
        BY_PEER.put(peer, own);
        return true;
    }

    static synchronized void give(String peer, long bytes) {
        held -= bytes;
        BY_PEER.computeIfPresent(peer, (address, own) -> own > bytes ? own - bytes : null);
    }
}
