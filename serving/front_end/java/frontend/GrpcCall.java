package frontend;

import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerStreamTracer;
import io.grpc.Status;
import io.netty.handler.codec.http.HttpResponseStatus;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.ConfigManager;

/**
 * One gRPC call: its sender, the bytes that it holds, and the job made of it. Until a job is made, a message counts
 * twice, since it is there as received and as parsed; then once, until the call ends. gRPC reports the bytes in a
 * thread of its own, and as they arrive, since a call does not announce how many it will send.
 */
final class GrpcCall extends ServerStreamTracer {
    private static final Context.Key<GrpcCall> CURRENT = Context.key("frontend.GrpcCall");
    private static final Metadata.Key<String> ENCODING =
            Metadata.Key.of("grpc-encoding", Metadata.ASCII_STRING_MARSHALLER);

    private static final Status TOO_LARGE = Status.RESOURCE_EXHAUSTED.withDescription(
            "The message has more than " + largest() + " bytes (max_request_size).");

    private final long began = System.nanoTime();
    private final TraceContext trace;
    private boolean inference;
    private long bytesIn; // of all messages
    private long bytesOut;
    private ServerCall<?, ?> call;
    private String peer = "";
    private boolean over;
    private boolean packed;
    private long arriving; // bytes of the message that is arriving
    private long unpacked;
    private long received;
    private long parsed;
    private Job job;
    private Job coming;
    private volatile GrpcCount count; // of the job
    private volatile Kind kind;
    private volatile Series model;

    GrpcCall(Metadata headers) {
        trace = Records.areWanted() ? TraceContext.of(all(headers, TraceContext.PARENT), all(headers, TraceContext.STATE))
                : null;
    }

    private static List<String> all(Metadata headers, String name) {
        Iterable<String> given = headers.getAll(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
        List<String> found = new ArrayList<>();
        if (given != null) {
            given.forEach(found::add);
        }
        return found;
    }

    static GrpcCall current() {
        return CURRENT.get();
    }

    @Override
    public Context filterContext(Context context) {
        return context.withValue(CURRENT, this);
    }

    synchronized void begin(ServerCall<?, ?> begun, String from, boolean toInference) {
        call = begun;
        peer = from;
        inference = toInference;
    }

    synchronized String peer() {
        return peer;
    }

    /** The token is right: messages may come. */
    synchronized void opens(Metadata headers) {
        String encoding = headers.get(ENCODING);
        packed = encoding != null && !encoding.equals("identity");
    }

    /** A message begins. What a compressed one holds is known too late: it counts as the largest. */
    @Override
    public synchronized void inboundMessage(int number) {
        arriving = 0;
        unpacked = 0;
        if (packed) {
            parsed += take(largest());
        }
    }

    @Override
    public synchronized void inboundWireSize(long bytes) {
        arriving += bytes;
        bytesIn += bytes;
        if (arriving > largest()) {
            refuse(TOO_LARGE);
        }
        received += take(bytes);
        if (!packed) {
            parsed += take(bytes);
        }
    }

    @Override
    public synchronized void inboundUncompressedSize(long bytes) {
        unpacked += bytes;
        if (packed && unpacked > largest()) {
            refuse(TOO_LARGE);
            throw TOO_LARGE.asRuntimeException(); // else gRPC would unpack the rest
        }
    }

    @Override
    public synchronized void outboundWireSize(long bytes) {
        bytesOut += bytes;
    }

    private static int largest() {
        return ConfigManager.getInstance().getMaxRequestSize();
    }

    private long take(long bytes) {
        if (over) {
            return 0;
        }
        if (Budget.take(peer, bytes)) {
            return bytes;
        }
        kind = Kind.MEMORY_FULL;
        refuse(Status.UNAVAILABLE.withDescription(Budget.FULL));
        return 0;
    }

    private synchronized void refuse(Queue.NoPlace why) {
        kind = why.kind();
        model = why.model();
        refuse(Status.UNAVAILABLE.withDescription(why.getMessage()));
    }

    /**
     * The call is closed: its client gets, as trailing metadata, what REST says in headers. Takes no lock, since the caller
     * holds that of the call.
     */
    void answers(Status status, Metadata trailers) {
        if (!status.isOk()) {
            isRefused(status);
        }
        Served served = count == null ? null : count.served();
        if (served != null) {
            served.facts().forEach((name, value) -> put(trailers, name, value));
        }
        put(trailers, Exchange.TOTAL, Millis.of(System.nanoTime() - began));
    }

    private static void put(Metadata trailers, String name, String value) {
        if (name.startsWith(InferOutput.FACT)) {
            trailers.put(Metadata.Key.of(name.toLowerCase(Locale.ROOT), Metadata.ASCII_STRING_MARSHALLER), value);
        }
    }

    /** The call is closed with an error; jobs count their own. */
    private void isRefused(Status why) {
        if (count != null && count.isAnswered()) {
            return;
        }
        if (model != null) {
            model.answered(status(why), 0);
        }
        Metrics.error(model, kind == null ? Kind.of(why.getCode()) : kind);
    }

    /** What the refusal is over HTTP. */
    private static int status(Status why) {
        switch (why.getCode()) {
            case PERMISSION_DENIED:
            case UNAUTHENTICATED:
                return HttpResponseStatus.UNAUTHORIZED.code();
            case NOT_FOUND:
            case UNIMPLEMENTED:
                return HttpResponseStatus.NOT_FOUND.code();
            case RESOURCE_EXHAUSTED:
                return HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE.code();
            case UNAVAILABLE:
            case INTERNAL:
                return HttpResponseStatus.SERVICE_UNAVAILABLE.code();
            default:
                return HttpResponseStatus.BAD_REQUEST.code();
        }
    }

    /** Closes the call with an error: whatever else comes for it is dropped. */
    synchronized void refuse(Status why) {
        if (!over) {
            over = true;
            call.close(why, new Metadata());
        }
    }

    /** The model that the call asks, where a job is not made of every such call. */
    void asks(Series asked) {
        model = asked;
    }

    /** The job made of the call: nobody waits for it once the call is cancelled. */
    synchronized void holds(Job made, GrpcCount counted) {
        job = made;
        coming = made;
        count = counted;
        if (trace != null && trace.recorded) {
            made.getPayload().updateHeaders(TraceContext.TRACED, "1");
        }
    }

    /** Hands a message, or the end of messages, to TorchServe, which makes a job of it. */
    void hand(Runnable step) {
        if (isOver()) {
            return;
        }
        try {
            step.run();
        } catch (Queue.NoPlace noPlace) {
            refuse(noPlace);
        } finally {
            if (coming != null) {
                Queue.settled(coming);
                coming = null;
            }
        }
    }

    private synchronized boolean isOver() {
        return over;
    }

    /** What was received is parsed, and gone. */
    synchronized void isWhole() {
        Budget.give(peer, received);
        received = 0;
    }

    @Override
    public synchronized void streamClosed(Status status) {
        over = true;
        if (job != null && !status.isOk()) {
            Queue.drop(job);
            if (status.getCode() == Status.Code.CANCELLED && !count.isAnswered()) {
                Metrics.error(count.series(), Kind.CLIENT_GONE);
            }
        }
        if (inference && Records.areWanted() && (job != null || !status.isOk())) { // else it is a probe
            record(status);
        }
        Budget.give(peer, received + parsed);
        received = 0;
        parsed = 0;
    }

    private void record(Status status) {
        RequestRecord record = new RequestRecord("grpc", "", peer, trace, began);
        record.whole = job == null ? began : job.getBegin();
        record.bytesIn = bytesIn;
        record.bytesOut = bytesOut;
        record.id = job == null ? "" : job.getJobId();
        record.model = count == null ? model : count.series();
        record.served = count == null ? null : count.served();
        if (count != null && count.isAnswered()) {
            record.ends(count.status(), count.kind());
        } else if (status.getCode() == Status.Code.CANCELLED && kind == null) {
            record.ends(0, Kind.CLIENT_GONE);
        } else {
            record.ends(status(status), kind == null ? Kind.of(status.getCode()) : kind);
        }
    }
}
