package frontend;

import java.util.concurrent.TimeUnit;

/** How long a connection is not read after a refusal: the longer, the more of its requests in a row were refused. */
final class Pause {
    private static final long FIRST_MS = 250;

    private long next = FIRST_MS;
    private long until = System.nanoTime();

    /** One more request is refused: the pause begins. */
    void refused() {
        until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(next);
        next = Math.min(2 * next, Settings.RETRY_AFTER_MS);
    }

    void answered() {
        next = FIRST_MS;
    }

    /** Nanoseconds until it is over; not above 0 where it is. */
    long left() {
        return until - System.nanoTime();
    }
}
