package frontend;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.archive.model.ModelException;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Sends copies of the requests that the default version of a model answers to another version, and keeps both answers
 * until make rollout SHADOW=... collects them (rollout/shadow.py). Nothing of them goes to a disk or a log.
 *
 * <p>No client waits for a copy, which is sent once its request is in its queue. A copy is made only where the other
 * version's queue is empty and what is kept stays within BYTES. A mirror ends after its time, or when nobody has collected
 * for SILENCE_S: its rollout was killed.
 */
final class Mirror {
    private static final Logger LOGGER = LoggerFactory.getLogger(Mirror.class);
    private static final Map<String, Mirror> ACTIVE = new ConcurrentHashMap<>(); // by the model's name
    private static final long BYTES = 8L << 20; // of requests and answers
    private static final int LONGEST_S = 3_600;
    private static final int SILENCE_S = 10;
    private static final int GRACE_S = 60; // after which a missing answer is given up

    private final Model from;
    private final Model to;
    private final double share;
    private final long end;
    private final Set<Copy> underWay = new HashSet<>();
    private List<Copy> answered = new ArrayList<>();
    private long bytes;
    private long asked;
    private long skipped;
    private volatile long heard = System.nanoTime();
    private ScheduledFuture<?> watch;

    private Mirror(Model from, Model to, double share, long end) {
        this.from = from;
        this.to = to;
        this.share = share;
        this.end = end;
    }

    /** Begins to copy so many percent of the requests for so many seconds, in place of an earlier mirror of the model. */
    static JsonObject begin(Model to, int seconds, double percent) throws ModelException {
        Model from = OpenInference.registered(to.getModelName(), null);
        if (from == to || seconds < 1 || seconds > LONGEST_S || !(percent > 0 && percent <= 100)) {
            throw new BadRequestException("A mirror is for a version that is not the default, seconds from 1 to "
                    + LONGEST_S + " and percent up to 100.");
        }
        Mirror made = new Mirror(from, to, percent / 100, System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds));
        ACTIVE.put(to.getModelName(), made);
        made.watch = ModelManager.getInstance().getScheduler().scheduleAtFixedRate(made::look, 1, 1, TimeUnit.SECONDS);
        return new JsonObject();
    }

    /** The pairs of answers since the last call, each once. */
    static JsonObject collect(Model to) {
        Mirror mirror = ACTIVE.get(to.getModelName());
        if (mirror == null || mirror.to != to) {
            throw new BadRequestException("No requests are copied to " + to.getModelName() + " " + to.getVersion() + ".");
        }
        mirror.heard = System.nanoTime();
        return mirror.take();
    }

    /** Ends the mirror of that version, if there is one. */
    static JsonObject end(Model to) {
        ACTIVE.computeIfPresent(to.getModelName(), (name, mirror) -> mirror.to == to ? null : mirror);
        return new JsonObject();
    }

    /** The copy to be sent of a job, or null. */
    static Copy of(HttpJob job) {
        Mirror mirror = ACTIVE.isEmpty() ? null : ACTIVE.get(job.getModelName());
        boolean wanted = mirror != null && mirror.from.getVersion().equals(job.getModelVersion())
                && job.getCmd() == WorkerCommands.PREDICT && System.nanoTime() < mirror.end
                && !OpenInference.METADATA.equals(job.getPayload().getHeaders().get(OpenInference.WANTED))
                && ThreadLocalRandom.current().nextDouble() < mirror.share;
        return wanted ? mirror.copy(job) : null;
    }

    private synchronized Copy copy(HttpJob job) {
        asked++;
        Copy copy = new Copy(this, to, job.getPayload());
        if (bytes + copy.size() > BYTES) {
            skipped++;
            return null;
        }
        bytes += copy.size();
        underWay.add(copy);
        return copy;
    }

    /** The copy gets no pair of answers: the other version was busy, or a client is gone. */
    synchronized void skip(Copy copy) {
        if (underWay.remove(copy)) {
            bytes -= copy.size();
            skipped++;
        }
    }

    /** One of both answers of a copy is there. */
    synchronized void answers(Copy copy, int more) {
        if (!underWay.contains(copy)) {
            return;
        }
        if (bytes + more > BYTES) {
            skip(copy);
            return;
        }
        bytes += more;
        copy.grow(more);
        if (copy.isWhole()) {
            underWay.remove(copy);
            answered.add(copy);
        }
    }

    private JsonObject take() {
        List<Copy> pairs;
        JsonObject said = new JsonObject();
        synchronized (this) {
            pairs = answered;
            answered = new ArrayList<>();
            pairs.forEach(each -> bytes -= each.size());
            said.addProperty("asked", asked);
            said.addProperty("skipped", skipped);
            said.addProperty("under_way", underWay.size());
        }
        JsonArray shown = new JsonArray();
        pairs.forEach(each -> shown.add(each.shown()));
        said.add("pairs", shown);
        return said;
    }

    private void look() {
        long now = System.nanoTime();
        if (now - heard > TimeUnit.SECONDS.toNanos(SILENCE_S)) {
            LOGGER.warn("Requests are no longer copied to {} {}: nobody has asked for the answers for {} s.",
                    to.getModelName(), to.getVersion(), SILENCE_S);
            end(to);
        }
        if (ACTIVE.get(to.getModelName()) != this) {
            watch.cancel(false);
            return;
        }
        long patience = TimeUnit.SECONDS.toNanos((long) from.getResponseTimeout() + GRACE_S);
        synchronized (this) { // of clients that hung up
            List.copyOf(underWay).stream().filter(each -> now - each.getBegin() > patience).forEach(this::skip);
        }
    }
}
