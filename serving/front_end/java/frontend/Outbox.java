package frontend;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hands records to a thread of its own. Adding one never waits: if the queue is full, the record is lost. The thread
 * pauses between two writes, so that a record wakes it only after a quiet time: waking it for each costs more than all
 * else that a record takes.
 */
final class Outbox {
    private static final Logger LOGGER = LoggerFactory.getLogger(Outbox.class);
    private static final int PLACES = 8_192; // records of a few hundred bytes
    private static final int AT_ONCE = 512;
    private static final long PAUSE_MS = 50;
    private static final long LAST_WAIT_MS = 1_000;

    /** The destination of the records. */
    interface Sink {
        void write(List<RequestRecord> records);

        /** Counts a lost record. Any thread may call it. */
        void lose(RequestRecord record);
    }

    private final BlockingQueue<RequestRecord> waiting = new ArrayBlockingQueue<>(PLACES);
    private final Sink sink;
    private volatile boolean writing;

    Outbox(String name, Sink sink) {
        this.sink = sink;
        Thread thread = new Thread(this::work, name);
        thread.setDaemon(true);
        thread.start();
        Runtime.getRuntime().addShutdownHook(new Thread(this::drain, name + "-end"));
    }

    void add(RequestRecord record) {
        if (!waiting.offer(record)) {
            sink.lose(record);
        }
    }

    private void work() {
        List<RequestRecord> some = new ArrayList<>(AT_ONCE);
        try {
            while (true) {
                some.add(waiting.take());
                writing = true;
                waiting.drainTo(some, AT_ONCE - 1);
                write(some);
                boolean pauses = some.size() < AT_ONCE;
                some.clear();
                writing = false;
                if (pauses) {
                    TimeUnit.MILLISECONDS.sleep(PAUSE_MS);
                }
            }
        } catch (InterruptedException ended) {
            return;
        }
    }

    private void write(List<RequestRecord> some) {
        try {
            sink.write(some);
        } catch (RuntimeException failure) { // the thread goes on with the next ones
            LOGGER.error("Records are lost: {}", failure.getClass().getName());
            some.forEach(sink::lose);
        }
    }

    /** The server ends: waits for the last requests, and a moment for what is still to be written. */
    private void drain() {
        try {
            Connections.finish();
            long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(LAST_WAIT_MS);
            while ((!waiting.isEmpty() || writing) && System.nanoTime() < end) {
                TimeUnit.MILLISECONDS.sleep(10);
            }
        } catch (InterruptedException ended) {
            return;
        }
    }
}
