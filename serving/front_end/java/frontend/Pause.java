package frontend;

/** How long a connection is not read after a refusal: the longer, the more of its requests in a row were refused. */
final class Pause {
    private static final long FIRST_MS = 100;

    private long next = FIRST_MS;

    /** Milliseconds, after one more refusal. */
    long refused() {
        long now = next;
        next = Math.min(2 * now, Settings.RETRY_AFTER_MS);
        return now;
    }

    void answered() {
        next = FIRST_MS;
    }
}
