package frontend;

import java.lang.reflect.Field;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.pytorch.serve.wlm.Model;

/**
 * The lock under which a model's workers take their batches. Model makes it in place of a ReentrantLock.
 *
 * <p>TorchServe's workers take turns. So one client of a model with four workers finds a worker that has slept for three
 * requests: its caches are cold, and its GPU context has to be switched to. Here the idle worker that was busy last comes
 * first.
 *
 * <p>TorchServe's thread of a worker holds the lock while it waits for a first request. With this lock it waits before:
 * it gets the lock only when a request is there. {@link #arrived} says so.
 */
public final class Turns extends ReentrantLock {
    private static final long serialVersionUID = 1L;
    private static final Field LOCK = field();
    /** How often a thread looks by itself, for requests of which {@link #arrived} is not told. */
    private static final long LOOK_MS = 200;

    private final transient ReentrantLock guard = new ReentrantLock();
    private final transient Deque<Condition> idle = new ArrayDeque<>(); // the thread that was busy last comes first
    private transient volatile Collection<?> jobs; // null until the first request

    private static Field field() {
        try {
            Field field = Model.class.getDeclaredField("lock"); // Model has no method for it
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException changed) {
            throw new ExceptionInInitializerError(changed);
        }
    }

    static Turns of(Model model) {
        try {
            return (Turns) LOCK.get(model);
        } catch (IllegalAccessException never) { // the field was made accessible
            throw new IllegalStateException(never);
        }
    }

    /** There may be a request in {@code waiting}, the model's queue. */
    void arrived(Collection<?> waiting) {
        jobs = waiting;
        wakeFirst();
    }

    @Override
    public void lockInterruptibly() throws InterruptedException {
        if (jobs == null) { // the lock of something else, or no request has come yet
            super.lockInterruptibly();
            return;
        }
        guard.lockInterruptibly();
        Condition self = guard.newCondition();
        idle.push(self);
        try {
            while (idle.peek() != self || jobs.isEmpty() || !tryLock()) {
                self.await(LOOK_MS, TimeUnit.MILLISECONDS);
            }
        } finally {
            idle.remove(self);
            guard.unlock();
        }
    }

    @Override
    public void unlock() {
        super.unlock();
        if (jobs != null) {
            wakeFirst();
        }
    }

    private void wakeFirst() {
        guard.lock();
        try {
            if (!idle.isEmpty() && !isLocked() && !jobs.isEmpty()) {
                idle.peek().signal();
            }
        } finally {
            guard.unlock();
        }
    }
}
