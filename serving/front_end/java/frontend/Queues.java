package frontend;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingDeque;

/**
 * The queues of a model by name, where that of requests is a {@link Waiting}. Model makes it in place of a
 * ConcurrentHashMap, and adds the queue of requests with putIfAbsent.
 */
public final class Queues<V> extends ConcurrentHashMap<String, V> {
    private static final long serialVersionUID = 1L;

    public Queues() {
    }

    public Queues(int capacity) {
        super(capacity);
    }

    @Override
    @SuppressWarnings("unchecked")
    public V putIfAbsent(String name, V queue) {
        boolean ofRequests = queue instanceof LinkedBlockingDeque;
        return super.putIfAbsent(name,
                ofRequests ? (V) new Waiting<>(((LinkedBlockingDeque<?>) queue).remainingCapacity()) : queue);
    }
}
