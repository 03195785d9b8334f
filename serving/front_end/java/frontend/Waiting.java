package frontend;

import java.util.concurrent.LinkedBlockingDeque;
import java.util.concurrent.TimeUnit;

/**
 * The requests that wait for a model's workers; {@link Queues} puts it in place of Model's LinkedBlockingDeque.
 *
 * <p>A batch delay of 1 us means "take the queued requests and start" (the catalog's default). LinkedBlockingDeque puts
 * the thread to sleep for it, and Linux wakes a thread 50 us late or later. Where requests come together, this brings more
 * of them into a batch. A request that comes alone would wait for nothing. So nothing waits after a batch of one request.
 */
final class Waiting<T> extends LinkedBlockingDeque<T> {
    private static final long serialVersionUID = 1L;
    /** A shorter wait would take this long. */
    private static final long SHORTEST_NS = 50_000;

    // The thread that takes a batch holds Turns.
    private int taken; // requests of the batch
    private boolean together; // whether the batch before had several

    Waiting(int places) {
        super(places);
    }

    /** Model waits without a limit for the first request of a batch, and for the batch delay for each further one. */
    @Override
    public T poll(long time, TimeUnit unit) throws InterruptedException {
        boolean first = unit.toNanos(time) == Long.MAX_VALUE;
        if (first) {
            together = taken > 1;
            taken = 0;
        }
        boolean waits = first || together || taken > 1 || unit.toNanos(time) >= SHORTEST_NS;
        T next = waits ? super.poll(time, unit) : poll();
        taken += next == null ? 0 : 1;
        return next;
    }
}
