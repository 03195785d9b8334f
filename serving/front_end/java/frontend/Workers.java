package frontend;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;
import org.pytorch.serve.wlm.WorkerState;

/**
 * Models whose workers have all been gone for long. TorchServe starts a dead worker again by itself, as a rule within
 * seconds, and requests wait for it. If it does not come back, they are refused instead of kept waiting. One thread
 * looks once a second.
 */
final class Workers {
    private static final Map<Model, Long> MISSING = new ConcurrentHashMap<>(); // since when, by System.nanoTime()

    private Workers() {}

    static {
        Thread watch = new Thread(Workers::watch, "frontend-workers");
        watch.setDaemon(true);
        watch.start();
    }

    /**
     * Whether the model has had no worker for longer than a request may wait for one. Where that is so, the workers are
     * looked at once more, since one may have come back after the thread's last look.
     */
    static boolean gone(Model model) {
        Long since = MISSING.get(model);
        return since != null
                && System.nanoTime() - since >= TimeUnit.SECONDS.toNanos(Settings.WORKER_WAIT_S)
                && !loaded(model);
    }

    /** Whether a worker of the model answers. */
    static boolean loaded(Model model) {
        return ready(model) > 0;
    }

    /**
     * Whether there are models, and a worker of each answers. TorchServe's own idea of a healthy model counts workers
     * that have ended and are to be started again.
     */
    static boolean haveLoaded() {
        Set<Map.Entry<String, ModelVersionedRefs>> models = ModelManager.getInstance().getAllModels();
        return !models.isEmpty() && models.stream().allMatch(model -> loaded(model.getValue().getDefaultModel()));
    }

    /** How many have the model loaded. */
    static long ready(Model model) {
        return ModelManager.getInstance().getWorkers(model.getModelVersionName()).stream()
                .filter(worker -> worker.getState() == WorkerState.WORKER_MODEL_LOADED).count();
    }

    /** The model is not served any more. */
    static void forget(Model model) {
        MISSING.remove(model);
    }

    private static void watch() {
        while (true) {
            try {
                TimeUnit.SECONDS.sleep(1);
                for (Map.Entry<String, ModelVersionedRefs> model : ModelManager.getInstance().getAllModels()) {
                    model.getValue().getAllVersions().forEach(version -> look(version.getValue()));
                }
            } catch (InterruptedException ended) {
                return;
            } catch (RuntimeException changing) {
                continue; // a model was registered or removed meanwhile: look again
            }
        }
    }

    private static void look(Model model) {
        if (loaded(model)) {
            MISSING.remove(model);
            return;
        }
        MISSING.putIfAbsent(model, System.nanoTime());
        if (gone(model)) {
            Queue.refuseAll(model);
        }
    }
}
