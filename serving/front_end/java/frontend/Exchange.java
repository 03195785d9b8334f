package frontend;

import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import java.util.regex.Pattern;
import org.pytorch.serve.util.ConnectorType;

/** Measures the present request of an HTTP connection. Only requests to the inference API are measured. */
final class Exchange {
    private static final Pattern PROBE = Pattern.compile(
            "/(?:ping|v2/health/(?:live|ready)|v2/models/[^/?]+(?:/versions/[^/?]+)?/ready)/?(?:\\?.*)?");

    /** From the head of a request to its answer. */
    static final String TOTAL = "x-total-ms";
    private static final String ID = "x-request-id"; // TorchServe's

    private final boolean inference;
    private String peer = "";
    private String target = "";
    private String method = "";
    private String id = "";
    private TraceContext trace;
    private long began; // its first part was there; 0 between two requests
    private long since;
    private long bytesIn;
    private long bytesOut;
    private int status;
    private Kind kind;
    private Series model;
    private HttpJob job;

    Exchange(ConnectorType connector) {
        inference = connector == ConnectorType.INFERENCE_CONNECTOR || connector == ConnectorType.ALL;
    }

    void from(String address) {
        peer = address;
    }

    /** Another part of the request is there; the request's time counts from the last part. */
    void begins() {
        since = System.nanoTime();
        began = began == 0 ? since : began;
    }

    /** The request's head is there. A worker is told whether the request is traced. */
    void asks(HttpRequest request) {
        target = request.uri();
        if (!inference || !Records.areWanted()) {
            return;
        }
        method = request.method().name();
        trace = TraceContext.of(
                request.headers().getAll(TraceContext.PARENT), request.headers().getAll(TraceContext.STATE));
        if (trace != null && trace.recorded) {
            request.headers().set(TraceContext.TRACED, "1");
        }
    }

    /** So many bytes of its body are there. */
    void receives(int bytes) {
        bytesIn += bytes;
    }

    /** So many bytes of the answer's body are on their way. */
    void sends(int bytes) {
        bytesOut += bytes;
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

    /** The answer's head is there; its client is told how long it took. */
    void answers(HttpResponse response) {
        status = response.status().code();
        if (inference) {
            id = response.headers().get(ID, "");
            response.headers().set(TOTAL, Millis.of(System.nanoTime() - began));
        }
    }

    /** The answer's last byte is on its way. */
    void ends() {
        if (inference && model != null) {
            model.answered(status, System.nanoTime() - since);
        }
        if (inference && (status >= 400 || Records.areWanted()) && !isProbed()) {
            Kind why = status >= 400 ? why() : null;
            if (why != null) {
                Metrics.error(model, why);
            }
            record(status, why);
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
            id = job.getJobId();
            record(0, Kind.CLIENT_GONE);
        }
        forget();
    }

    private void record(int code, Kind why) {
        if (!Records.areWanted()) {
            return;
        }
        RequestRecord record = new RequestRecord(RequestRecord.api(target), method, peer, trace, began);
        record.whole = since;
        record.bytesIn = bytesIn;
        record.bytesOut = bytesOut;
        record.id = id;
        record.model = model;
        record.served = job == null ? null : job.served();
        record.ends(code, why);
    }

    private void forget() {
        job = null;
        model = null;
        kind = null;
        trace = null;
        target = "";
        method = "";
        id = "";
        began = 0;
        bytesIn = 0;
        bytesOut = 0;
    }
}
