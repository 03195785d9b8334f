package frontend;

import java.lang.reflect.Field;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * Workers that were ended and have to stay it. TorchServe starts a worker that has failed again after a pause, also where
 * it was ended during that pause. No list has it then, and it takes requests.
 */
final class Ended {
    private static final Field FAILED = field("recoveryStartTS"); // 0 for a worker that has not failed, or loaded since
    private static final Field THREAD = field("currentThread"); // null for a worker that waits for its next start
    private static final long LOOK_MS = 50; // Python takes longer to start
    private static final long LONGEST_S = 300; // after which TorchServe starts none again

    private Ended() {}

    private static Field field(String name) {
        try {
            Field field = WorkerThread.class.getDeclaredField(name);
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException changed) {
            throw new ExceptionInInitializerError(changed);
        }
    }

    private static Object get(Field field, WorkerThread worker) {
        try {
            return field.get(worker);
        } catch (IllegalAccessException never) { // the field was made accessible
            throw new IllegalStateException(never);
        }
    }

    /** Ends those of them again that TorchServe starts again. */
    static void keep(List<WorkerThread> workers) {
        for (WorkerThread worker : List.copyOf(workers)) {
            if ((long) get(FAILED, worker) > 0) {
                ModelManager.getInstance().submitTask(() -> endAgain(worker));
            }
        }
    }

    private static void endAgain(WorkerThread worker) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LONGEST_S);
        try {
            while (((AtomicReference<?>) get(THREAD, worker)).get() == null) {
                if (System.nanoTime() > end) {
                    return;
                }
                TimeUnit.MILLISECONDS.sleep(LOOK_MS);
            }
            worker.shutdown(); // its thread ends the process
        } catch (InterruptedException stopping) {
            Thread.currentThread().interrupt();
        }
    }
}
