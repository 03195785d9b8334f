package frontend;

import io.netty.channel.Channel;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;

/**
 * Sends batches to a worker. WorkerThread has it in place of a CompletableFuture.
 *
 * <p>WorkerThread lets a further thread write each batch to the worker's connection, and wait until it is written. On one
 * or two cores Java starts a new thread for each batch. Here the connection's event loop runs the same code, which has
 * nothing to wait for: what the socket does not take at once, the event loop writes later.
 */
public final class Sending<T> extends CompletableFuture<T> {
    /** The event loop of the last connection that this thread made. Each WorkerThread has a thread of its own. */
    private static final ThreadLocal<Executor> LOOP = ThreadLocal.withInitial(ForkJoinPool::commonPool);

    static void over(Channel worker) {
        LOOP.set(worker.eventLoop());
    }

    public static CompletableFuture<Void> runAsync(Runnable write) {
        return CompletableFuture.runAsync(write, LOOP.get());
    }
}
