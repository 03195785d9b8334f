package frontend;

import java.lang.reflect.Field;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.LinkedBlockingDeque;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.pytorch.serve.http.ServiceUnavailableException;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;

/**
 * The requests that wait for a model's worker. An address that waits alone may have all places. Where several wait,
 * none gets more than half: one that has more gives up its newest request, with a 503, for another's.
 */
final class Queue {
    private static final Field JOBS = jobs();
    private static final Pattern TARGET = Pattern.compile("/(?:(?:predictions|explanations)/(?<name>[^/?%]+)(?:/(?<version>[^/?%]+))?"
            + "|v2/models/(?<model>[^/?%]+)(?:/versions/(?<release>[^/?%]+))?/infer)(?=\\?|$)");
    private static final Map<Job, Queue> COMING = new IdentityHashMap<>();

    private final Model model;
    private final String name;
    private final LinkedBlockingDeque<Job> waiting;
    private final int capacity;

    private Queue(Model model, LinkedBlockingDeque<Job> waiting) {
        this.model = model;
        this.name = model.getModelName();
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

    private static Queue of(Job job) {
        return of(job.getModelName(), job.getModelVersion());
    }

    private static Queue of(Matcher named) {
        return named.group("name") == null ? of(named.group("model"), named.group("release"))
                : of(named.group("name"), named.group("version"));
    }

    private static Queue of(String name, String version) {
        try {
            return of(ModelManager.getInstance().getModel(name, version));
        } catch (org.pytorch.serve.archive.model.ModelException unknown) {
            return null; // TorchServe says so itself
        }
    }

    @SuppressWarnings("unchecked")
    private static Queue of(Model model) {
        try {
            Object found = model == null ? null : ((Map<?, ?>) JOBS.get(model)).get(Model.DEFAULT_DATA_QUEUE);
            return found == null ? null : new Queue(model, (LinkedBlockingDeque<Job>) found);
        } catch (IllegalAccessException never) { // the field was made accessible
            throw new IllegalStateException(never);
        }
    }

    /**
     * Why a request to that target would have no place now, or null where it may have one: what {@link #admit} would say,
     * before a body is read for it. Changes nothing, and looks at full queues and the paths of
     * /predictions, /explanations and /v2 alone.
     */
    static NoPlace objection(String target, String peer) {
        Matcher named = TARGET.matcher(target);
        Queue queue = named.lookingAt() ? of(named) : null;
        if (queue == null) {
            return null;
        }
        if (Workers.gone(queue.model)) {
            return queue.withoutWorker();
        }
        synchronized (COMING) {
            if (queue.waiting.remainingCapacity() > COMING.size()) {
                return null;
            }
            return queue.refusal(peer, queue.places());
        }
    }

    /**
     * Makes room for the job, where it has a right to some. Until {@link #settled} it counts as a waiting one, since
     * TorchServe puts it into the queue a moment later. Throws NoPlace where it has no right.
     */
    static void admit(Job job) {
        Queue queue = of(job);
        if (queue == null) {
            return;
        }
        if (Workers.gone(queue.model)) {
            throw queue.withoutWorker();
        }
        synchronized (COMING) {
            if (queue.waiting.size() + COMING.size() >= queue.capacity / 2) {
                queue.admit(peer(job));
            }
            COMING.put(job, queue);
        }
    }

    /** The job is in its queue now, or never will be. */
    static void settled(Job job) {
        Queue queue;
        synchronized (COMING) {
            queue = COMING.remove(job);
        }
        if (queue != null) {
            Turns.of(queue.model).arrived(queue.waiting);
        }
    }

    /** Adds a job that no client waits for where no other waits; returns whether it did. */
    static boolean addToEmpty(Model model, Job job) {
        Queue queue = of(model);
        boolean added = queue != null && queue.waiting.isEmpty() && queue.waiting.offer(job);
        if (added) {
            Turns.of(model).arrived(queue.waiting);
        }
        return added;
    }

    private void admit(String peer) {
        if (fits(peer)) {
            return;
        }
        Map<String, Integer> places = places();
        NoPlace refusal = refusal(peer, places);
        if (refusal != null) {
            throw refusal;
        }
        if (sum(places) >= capacity
                && !evict(Collections.max(places.entrySet(), Map.Entry.comparingByValue()).getKey())) {
            throw full();
        }
    }

    /** Whether the queue has room, and this address may take it. Says so without a count for each address. */
    private boolean fits(String peer) {
        int all = waiting.size() + COMING.size(); // COMING may hold requests to other models
        if (all >= capacity) {
            return false;
        }
        int[] own = new int[1];
        waiting.forEach(job -> own[0] += peer(job).equals(peer) ? 1 : 0);
        COMING.keySet().forEach(job -> own[0] += peer(job).equals(peer) ? 1 : 0);
        return !Settings.FAIR || own[0] < capacity / 2 || own[0] == all;
    }

    /** How many places each address has. */
    private Map<String, Integer> places() {
        Set<Job> here = Collections.newSetFromMap(new IdentityHashMap<>());
        here.addAll(waiting);
        COMING.forEach((job, queue) -> {
            if (queue.waiting == waiting) {
                here.add(job);
            }
        });
        Map<String, Integer> places = new HashMap<>();
        here.forEach(each -> places.merge(peer(each), 1, Integer::sum));
        return places;
    }

    /** Why an address gets no place, or null: where the queue is full, another address then has to give one up. */
    private NoPlace refusal(String peer, Map<String, Integer> places) {
        int half = capacity / 2;
        int own = places.getOrDefault(peer, 0);
        int all = sum(places);
        if (Settings.FAIR && own > 0 && own >= half && own < all) {
            return full("Requests from this address hold half of the queue of " + name + ", and others wait");
        }
        boolean fits = all < capacity || Settings.FAIR && own < half && Collections.max(places.values()) > half;
        return fits ? null : full();
    }

    private static int sum(Map<String, Integer> places) {
        return places.values().stream().mapToInt(Integer::intValue).sum();
    }

    private NoPlace full() {
        return full("The queue of " + name + " is full (" + capacity + " requests)");
    }

    private NoPlace full(String why) {
        return new NoPlace(why, Kind.QUEUE_FULL, Series.of(model));
    }

    private boolean evict(String peer) {
        for (Iterator<Job> newest = waiting.descendingIterator(); newest.hasNext(); ) {
            Job job = newest.next();
            if (peer(job).equals(peer) && waiting.remove(job)) {
                tell(job, full("Others wait for " + name + ", and this address had more than half of the queue"));
                return true;
            }
        }
        return false;
    }

    /** Refuses all requests that wait for a model whose workers do not come back. */
    static void refuseAll(Model model) {
        Queue queue = of(model);
        for (Job job = queue == null ? null : queue.waiting.poll(); job != null; job = queue.waiting.poll()) {
            tell(job, queue.withoutWorker());
        }
    }

    private NoPlace withoutWorker() {
        return new NoPlace("No worker of " + name + " runs (make status says why)", Kind.NO_WORKER, Series.of(model));
    }

    private static void tell(Job job, NoPlace why) {
        if (job instanceof Sent) {
            ((Sent) job).refuse(why);
        } else {
            job.sendError(why.status(), why.getMessage());
        }
    }

    /** The requests that wait for the model's workers. */
    static int length(Model model) {
        Queue queue = of(model);
        return queue == null ? 0 : queue.waiting.size();
    }

    /** The most that may wait. */
    static int places(Model model) {
        Queue queue = of(model);
        return queue == null ? 0 : queue.capacity;
    }

    /** Says that a queue has no place for a request. */
    static final class NoPlace extends ServiceUnavailableException {
        private static final long serialVersionUID = 1L;

        private final transient Kind kind;
        private final transient Series model;

        private NoPlace(String why, Kind kind, Series model) {
            super(why + "; retry after " + Settings.RETRY_AFTER_S + " s.");
            this.kind = kind;
            this.model = model;
        }

        int status() {
            return 503;
        }

        Kind kind() {
            return kind;
        }

        Series model() {
            return model;
        }

        /** No stack trace: nobody reads it, and there may be thousands of refusals a second. */
        @Override
        public synchronized Throwable fillInStackTrace() {
            return this;
        }
    }

    private static String peer(Job job) {
        return job instanceof Sent ? ((Sent) job).peer() : "";
    }

    /** Removes a job whose client hung up, before a worker gets it. */
    static void drop(Job job) {
        Queue queue = of(job);
        if (queue != null) {
            queue.waiting.remove(job);
        }
    }
}
