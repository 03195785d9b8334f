package frontend;

import java.time.Instant;
import java.util.concurrent.TimeUnit;

/**
 * The record of a finished request to the inference API, for the request log and the traces. It holds no content,
 * path or token of the request. Times are those of System.nanoTime().
 */
final class RequestRecord {
    final String api; // predictions, v1, v2, grpc, other
    final String method;
    final String peer;
    final TraceContext trace; // null where it belongs to none
    final long began; // its head was there
    long whole; // its last byte was there
    long ended;
    private long clock; // at its end, in nanoseconds since 1970
    long bytesIn; // of the body
    long bytesOut;
    int status; // of HTTP; 0 where the client was gone
    Kind kind; // null where it got its model's answer
    String id = "";
    Series model; // null where none is known
    Served served; // null where no worker answered

    RequestRecord(String api, String method, String peer, TraceContext trace, long began) {
        this.api = api;
        this.method = method;
        this.peer = peer;
        this.trace = trace;
        this.began = began;
        whole = began;
    }

    /** The part of the API that a target belongs to. */
    static String api(String target) {
        int end = target.indexOf('/', 1);
        String first = target.substring(Math.min(1, target.length()), end < 0 ? target.length() : end);
        switch (first) {
            case "predictions":
            case "explanations":
            case "v1":
            case "v2":
                return first;
            default:
                return "other";
        }
    }

    boolean isTraced() {
        return trace != null && trace.recorded;
    }

    /** It is over: hands it on. */
    void ends(int code, Kind why) {
        status = code;
        kind = why;
        ended = System.nanoTime();
        Instant now = Instant.now();
        clock = TimeUnit.SECONDS.toNanos(now.getEpochSecond()) + now.getNano();
        Records.add(this);
    }

    /** A time of System.nanoTime() in nanoseconds since 1970. */
    long sinceEpoch(long nanos) {
        return clock - (ended - nanos);
    }
}
