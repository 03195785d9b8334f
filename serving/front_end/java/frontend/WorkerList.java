package frontend;

import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionName;
import org.pytorch.serve.wlm.WorkLoadManager;
import org.pytorch.serve.wlm.WorkerThread;

/** The list of a model's workers. Where a model gets fewer, TorchServe ends the last ones of it. */
final class WorkerList {
    private static final Field MANAGER = field(ModelManager.class, "wlm");
    private static final Field LISTS = field(WorkLoadManager.class, "workers"); // no method changes the order

    private WorkerList() {}

    private static Field field(Class<?> type, String name) {
        try {
            Field field = type.getDeclaredField(name);
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException changed) {
            throw new ExceptionInInitializerError(changed);
        }
    }

    @SuppressWarnings("unchecked")
    private static Map<ModelVersionName, List<WorkerThread>> lists() {
        try {
            return (Map<ModelVersionName, List<WorkerThread>>) LISTS.get(MANAGER.get(ModelManager.getInstance()));
        } catch (IllegalAccessException never) { // the fields were made accessible
            throw new IllegalStateException(never);
        }
    }

    /** Makes these workers the last ones, behind all others. */
    static void putLast(Model model, List<WorkerThread> ending) {
        ModelVersionName name = model.getModelVersionName();
        synchronized (name) { // as TorchServe changes the list
            List<WorkerThread> ordered = new ArrayList<>(lists().get(name));
            ordered.removeAll(ending);
            ordered.addAll(ending);
            lists().put(name, ordered); // others read the old list or the new one, and never one without these
        }
    }
}
