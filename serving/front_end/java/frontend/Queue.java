package frontend;

import java.lang.reflect.Field;
import java.util.Collections;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.LinkedBlockingDeque;
import org.pytorch.serve.http.ServiceUnavailableException;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;

/**
 * The requests that wait for a model's worker. While there is room everybody may have it. In a full queue an address
 * with more than half of the places gives one to an address that has less: its newest request is answered with 503.
 */
final class Queue {
    private static final Field JOBS = jobs();

    private final String name;
    private final LinkedBlockingDeque<Job> waiting;
    private final int capacity;

    private Queue(String name, LinkedBlockingDeque<Job> waiting) {
        this.name = name;
        this.waiting = waiting;
        this.capacity = waiting.size() + waiting.remainingCapacity();
    }

    private static Field jobs() {
        try {
            Field field = Model.class.getDeclaredField("jobsDb"); // no method of Model takes a request out again
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException changed) {
            throw new ExceptionInInitializerError(changed);
        }
    }

    @SuppressWarnings("unchecked")
    private static Queue of(Job job) {
        try {
            Model model = ModelManager.getInstance().getModel(job.getModelName(), job.getModelVersion());
            Object found = model == null ? null : ((Map<?, ?>) JOBS.get(model)).get(Model.DEFAULT_DATA_QUEUE);
            return found == null ? null : new Queue(job.getModelName(), (LinkedBlockingDeque<Job>) found);
        } catch (ReflectiveOperationException | org.pytorch.serve.archive.model.ModelException unknown) {
            return null; // TorchServe says so itself
        }
    }

    /** Makes room for the job, where it has a right to some. Throws ServiceUnavailableException where it has none. */
    static void admit(HttpJob job) {
        Queue queue = of(job);
        if (queue != null && queue.waiting.size() >= queue.capacity / 2) {
            queue.admit(job.peer());
        }
    }

    private void admit(String peer) {
        int half = capacity / 2;
        Map<String, Integer> places = new HashMap<>();
        waiting.forEach(each -> places.merge(peer(each), 1, Integer::sum));
        int own = places.getOrDefault(peer, 0);
        boolean full = waiting.remainingCapacity() == 0;
        if (Settings.FAIR && own > half && places.size() > 1) {
            throw refusal("Requests from this address hold more than half of the queue of " + name);
        }
        if (!full) {
            return;
        }
        if (Settings.FAIR && own < half && !places.isEmpty()) {
            Map.Entry<String, Integer> most = Collections.max(places.entrySet(), Map.Entry.comparingByValue());
            if (most.getValue() > half && evict(most.getKey())) {
                return;
            }
        }
        throw refusal("The queue of " + name + " is full (" + capacity + " requests)");
    }

    private boolean evict(String peer) {
        for (Iterator<Job> newest = waiting.descendingIterator(); newest.hasNext(); ) {
            Job job = newest.next();
            if (peer(job).equals(peer) && waiting.remove(job)) {
                job.sendError(503, refusal("Others wait for " + name + ", and this address had more than half of its queue")
                        .getMessage());
                return true;
            }
        }
        return false;
    }

    private static ServiceUnavailableException refusal(String why) {
        return new ServiceUnavailableException(why + "; retry after " + Settings.RETRY_AFTER_S + " s.");
    }

    private static String peer(Job job) {
        return job instanceof HttpJob ? ((HttpJob) job).peer() : "gRPC";
    }

    /** Takes a job out whose client hung up, before a worker is troubled with it. */
    static void drop(HttpJob job) {
        Queue queue = of(job);
        if (queue != null) {
            queue.waiting.remove(job);
        }
    }
}
