package frontend;

import java.util.regex.Pattern;
import org.pytorch.serve.util.ConnectorType;

/** The present request of an HTTP connection as it is measured. Only those to the inference API are. */
final class Exchange {
    private static final Pattern PROBE = Pattern.compile(
            "/(?:ping|v2/health/(?:live|ready)|v2/models/[^/?]+(?:/versions/[^/?]+)?/ready)/?(?:\\?.*)?");

    private final boolean inference;
    private String target = "";
    private long since;
    private int status;
    private Kind kind;
    private Series model;
    private HttpJob job;

    Exchange(ConnectorType connector) {
        inference = connector == ConnectorType.INFERENCE_CONNECTOR || connector == ConnectorType.ALL;
    }

    /** One more part of the request is there; its time counts from the last one. */
    void begins() {
        since = System.nanoTime();
    }

    void asks(String path) {
        target = path;
    }

    void refused(Refusal refusal) {
        kind = refusal.kind();
    }

    /** No queue has a place for it; null where one has. */
    void refused(Queue.NoPlace why) {
        if (why != null) {
            kind = why.kind();
            model = why.model();
        }
    }

    void holds(HttpJob made) {
        job = made;
        model = made.series();
    }

    void answers(int code) {
        status = code;
    }

    /** The answer's last byte is on its way. */
    void ends() {
        if (inference && model != null) {
            model.answered(status, System.nanoTime() - since);
        }
        if (inference && status >= 400 && !isProbed()) {
            Metrics.error(model, why());
        }
        forget();
    }

    /** Whether the status tells a probe that the server is not ready: that is no error of a request. */
    private boolean isProbed() {
        return kind == null && PROBE.matcher(target).matches();
    }

    private Kind why() {
        if (kind != null) {
            return kind;
        }
        return job != null && job.kind() != null ? job.kind() : Kind.of(status);
    }

    /** The client hung up: nobody waits for the job. */
    void breaks() {
        if (job != null) {
            Queue.drop(job);
            Metrics.error(model, Kind.CLIENT_GONE);
        }
        forget();
    }

    private void forget() {
        job = null;
        model = null;
        kind = null;
    }
}
