package frontend;

import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;

/**
 * Counts the starts of workers and times their loads. WorkLoadManager makes it in place of a WorkerStateListener. Each
 * worker has a thread of its own, whose name it keeps when it is started again.
 */
public final class WorkerStates extends WorkerStateListener {
    private final Map<String, Long> started = new ConcurrentHashMap<>(); // worker -> when, by System.nanoTime()

    public WorkerStates(CompletableFuture<Integer> future, int count) {
        super(future, count);
    }

    @Override
    public void notifyChangeState(String name, WorkerState state, Integer status) {
        String worker = Thread.currentThread().getName();
        Series model = series(name);
        if (model != null && state == WorkerState.WORKER_STARTED
                && started.put(worker, System.nanoTime()) != null) {
            model.restarted();
        }
        Long since = started.get(worker);
        if (model != null && state == WorkerState.WORKER_MODEL_LOADED && since != null) {
            model.loaded(System.nanoTime() - since);
        }
        super.notifyChangeState(name, state, status);
    }

    /** The metrics of the model that TorchServe calls "name_version". */
    private static Series series(String name) {
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            for (Map.Entry<String, Model> version : each.getValue().getAllVersions()) {
                if (version.getValue().getModelVersionName().getVersionedModelName().equals(name)) {
                    return Series.of(version.getValue());
                }
            }
        }
        return null;
    }
}
