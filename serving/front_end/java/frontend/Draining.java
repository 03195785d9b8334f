package frontend;

import java.lang.reflect.Field;
import java.util.ConcurrentModificationException;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Collectors;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.http.ConflictStatusException;
import org.pytorch.serve.http.RequestTimeoutException;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.RequestInput;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.BatchAggregator;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;
import org.pytorch.serve.wlm.WorkerInitializationException;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * Ends workers while they answer no request. TorchServe itself ends them at once, and some of the requests that they
 * have then fail.
 */
final class Draining {
    private static final Field AGGREGATOR = field(WorkerThread.class, "aggregator");
    private static final Field JOBS = field(BatchAggregator.class, "jobs"); // what a worker has in hand
    private static final long LOOK_MS = 10;
    private static final int LOOKS = 5; // in a row: a request may be on its way from a queue to a worker

    private Draining() {}

    private static Field field(Class<?> type, String name) {
        try {
            Field field = type.getDeclaredField(name);
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException changed) {
            throw new ExceptionInInitializerError(changed);
        }
    }

    private static Object get(Field field, Object owner) {
        try {
            return field.get(owner);
        } catch (IllegalAccessException never) { // the field was made accessible
            throw new IllegalStateException(never);
        }
    }

    /** Unregisters the version, waits until it has answered all its requests, and ends its workers. */
    static void remove(Model model) throws ModelException, InterruptedException {
        String name = model.getModelName();
        String version = model.getVersion();
        ModelVersionedRefs versions = versions(name);
        if (version.equals(versions.getDefaultVersion())) {
            throw new ConflictStatusException(
                    "Version " + version + " of " + name + " answers requests that name no version; it stays.");
        }
        versions.removeVersionModel(version); // from now on no request finds it
        List<WorkerThread> ending = workers(model);
        boolean done = false;
        try {
            done = isQuiet(model, ending);
        } finally {
            versions.addVersionModel(model, version);
        }
        if (!done) {
            throw new RequestTimeoutException("Version " + version + " of " + name + " still answers requests.");
        }
        ModelManager.getInstance().unregisterModel(name, version, true);
        Ended.keep(ending);
        Workers.forget(model);
        Series.forget(model);
    }

    private static ModelVersionedRefs versions(String name) {
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            if (each.getKey().equals(name)) {
                return each.getValue();
            }
        }
        throw new ConflictStatusException(name + " was removed meanwhile.");
    }

    /** Sets the number of workers. Those that are too many, the last ones, end between two batches. */
    static void scale(Model model, int wanted)
            throws ModelException, WorkerInitializationException, InterruptedException {
        List<WorkerThread> workers = workers(model);
        if (wanted >= workers.size()) {
            update(model, wanted);
        } else {
            end(model, workers.subList(wanted, workers.size()));
        }
    }

    /** Ends one worker between two batches. The version has one fewer then, and keeps at least one. */
    static void end(Model model, String worker)
            throws ModelException, WorkerInitializationException, InterruptedException {
        List<WorkerThread> ending = workers(model).stream()
                .filter(each -> each.getWorkerId().equals(worker)).collect(Collectors.toList());
        if (ending.isEmpty() || workers(model).size() == 1) {
            throw new BadRequestException(
                    "Worker " + worker + " of " + model.getModelName() + " does not run, or is the only one; it stays.");
        }
        end(model, ending);
    }

    private static void end(Model model, List<WorkerThread> ending)
            throws ModelException, WorkerInitializationException, InterruptedException {
        ReentrantLock lock = Turns.of(model); // a worker holds it while it takes its next batch
        take(lock, model);
        try {
            if (!areIdle(ending, patience(model))) {
                throw new RequestTimeoutException("A worker of " + model.getModelName() + " still answers requests.");
            }
            WorkerList.putLast(model, ending);
            update(model, workers(model).size() - ending.size());
            Ended.keep(ending);
        } finally {
            lock.unlock();
        }
    }

    private static void update(Model model, int workers) throws ModelException, WorkerInitializationException {
        ModelManager.getInstance().updateModel(
                model.getModelName(), model.getVersion(), workers, workers, true, false);
    }

    /** An idle worker holds the lock until its first request comes, so it gets a request that is no client's. */
    private static void take(ReentrantLock lock, Model model) throws InterruptedException {
        Future<?> nudging = ModelManager.getInstance().getScheduler().scheduleAtFixedRate(
                () -> nudge(model), LOOK_MS, LOOK_MS, TimeUnit.MILLISECONDS);
        try {
            if (!lock.tryLock(patience(model), TimeUnit.NANOSECONDS)) {
                throw new RequestTimeoutException("The workers of " + model.getModelName() + " are busy; try again.");
            }
        } finally {
            nudging.cancel(false);
        }
    }

    private static void nudge(Model model) {
        if (Queue.length(model) == 0) {
            model.addJob(new Nudge(model));
        }
    }

    private static List<WorkerThread> workers(Model model) {
        return ModelManager.getInstance().getWorkers(model.getModelVersionName());
    }

    /** A worker that takes longer is ended by TorchServe. */
    private static long patience(Model model) {
        return TimeUnit.SECONDS.toNanos(model.getResponseTimeout() + 5L);
    }

    private static boolean isQuiet(Model model, List<WorkerThread> workers) throws InterruptedException {
        long end = System.nanoTime() + patience(model);
        while (System.nanoTime() < end) {
            if (Queue.length(model) == 0 || workers.isEmpty()) {
                if (areIdle(workers, end - System.nanoTime()) && Queue.length(model) == 0) {
                    return true;
                }
            }
            TimeUnit.MILLISECONDS.sleep(LOOK_MS);
        }
        return false;
    }

    private static boolean areIdle(List<WorkerThread> workers, long patience) throws InterruptedException {
        long end = System.nanoTime() + patience;
        for (int idle = 0; idle < LOOKS; idle = workers.stream().allMatch(Draining::isIdle) ? idle + 1 : 0) {
            if (System.nanoTime() > end) {
                return false;
            }
            TimeUnit.MILLISECONDS.sleep(LOOK_MS);
        }
        return true;
    }

    private static boolean isIdle(WorkerThread worker) {
        try {
            return ((Map<?, ?>) get(JOBS, get(AGGREGATOR, worker)))
                    .values().stream().noneMatch(each -> each instanceof Sent || each instanceof Copy);
        } catch (ConcurrentModificationException taking) {
            return false;
        }
    }

    /** A request for a description, whose answer nobody reads. */
    private static final class Nudge extends Job {
        Nudge(Model model) {
            super(model.getModelName(), model.getVersion(), WorkerCommands.DESCRIBE, input());
        }

        private static RequestInput input() {
            RequestInput input = new RequestInput(UUID.randomUUID().toString());
            input.updateHeaders("describe", "True");
            return input;
        }

        @Override
        public void response(byte[] body, CharSequence type, int status, String phrase, Map<String, String> headers) {
            // nobody waits for it
        }

        @Override
        public void sendError(int status, String error) {
            // nobody waits for it
        }

        @Override
        public boolean isOpen() {
            return true;
        }
    }
}
