package frontend;

import java.util.Map;
import org.pytorch.serve.job.Job;

/** The facts of a request that a worker answered: its wait for the worker, and the worker's own facts. */
final class Served {
    private static final String QUEUE = "x-queue-ms";
    /** When the worker began, in nanoseconds of the clock of System.nanoTime(). No client sees it (handlers/figures.py). */
    private static final String BEGAN = "x-began";

    /** By System.nanoTime(): it is in the queue, a worker takes it, the worker begins. The last is 0 where unknown. */
    final long queued;
    final long taken;
    final long began;
    private final Map<String, String> facts;

    private Served(long queued, long taken, long began, Map<String, String> facts) {
        this.queued = queued;
        this.taken = taken;
        this.began = began;
        this.facts = facts;
    }

    /** Takes what is not for clients from the worker's headers, and adds the wait. */
    static Served of(Job job, Map<String, String> headers) {
        if (headers == null) {
            return new Served(job.getBegin(), job.getScheduled(), 0, Map.of());
        }
        String began = headers.remove(BEGAN);
        Served made = new Served(job.getBegin(), job.getScheduled(), number(began), headers);
        headers.put(QUEUE, Millis.of(made.waited()));
        return made;
    }

    /** Nanoseconds. */
    long waited() {
        return taken - queued;
    }

    /** The headers that clients see. */
    Map<String, String> facts() {
        return facts;
    }

    /** A stage's milliseconds, or null. */
    Double stage(String name) {
        try {
            String said = facts.get("x-" + name + "-ms");
            return said == null ? null : Double.valueOf(said);
        } catch (NumberFormatException other) {
            return null; // a header of an archive that was not built here
        }
    }

    /** A count of the request, such as tokens; 0 where there is none. */
    long count(String name) {
        return number(facts.get("x-" + name));
    }

    private static long number(String said) {
        try {
            return said == null ? 0 : Long.parseLong(said);
        } catch (NumberFormatException other) {
            return 0;
        }
    }
}
