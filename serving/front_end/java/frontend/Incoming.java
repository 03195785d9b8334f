package frontend;

import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpUtil;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.ConnectorType;

/** The request that a connection sends: whether its sender may, whether its body fits, and the bytes that it holds. */
final class Incoming {
    private final ConnectorType connector;
    private final String peer;
    private boolean keepAlive = true;
    private boolean chunked;
    private long taken;
    private long unpacked;
    private Form form;
    private Queue.NoPlace noPlace;
    private boolean openInference;
    private String allowed;

    Incoming(ConnectorType connector, String peer) {
        this.connector = connector;
        this.peer = peer;
    }

    /** Whether the connection stays open after the answer, as far as its client says. */
    boolean keepAlive() {
        return keepAlive;
    }

    /** Whether the request is one of the Open Inference Protocol's. */
    boolean openInference() {
        return openInference;
    }

    /** The methods that the request's URL takes, as the header Allow has them; null for an unknown URL. */
    String allowed() {
        return allowed;
    }

    /** Why the queue has no place for the request, whose body is not worth keeping then; or null. */
    Queue.NoPlace noPlace() {
        return noPlace;
    }

    /** Why the request is not read further than its head, or null. */
    Refusal begins(HttpRequest request) {
        try {
            return head(request);
        } catch (RuntimeException wrong) { // Netty's, of a boundary that is none
            return Refusal.malformed("The request's Content-Type cannot be read.");
        }
    }

    private Refusal head(HttpRequest request) {
        noPlace = null;
        allowed = null;
        openInference = OpenInference.is(request.uri());
        keepAlive = HttpUtil.isKeepAlive(request);
        if (request.decoderResult().isFailure()) {
            return Refusal.malformed("Invalid HTTP message.");
        }
        chunked = HttpUtil.isTransferEncodingChunked(request);
        long length = HttpUtil.getContentLength(request, 0L);
        Refusal refusal = Access.refusal(connector, request, chunked || length > 0);
        allowed = Methods.of(request.uri());
        refusal = refusal == null ? Explanations.refusal(request.uri()) : refusal;
        refusal = refusal == null ? Methods.refusal(request) : refusal;
        refusal = refusal == null ? Access.expectation(request) : refusal;
        refusal = refusal == null ? Plain.announced(request) : refusal;
        form = Plain.isCoded(request) ? null : Form.of(request, length); // else counted when it is unpacked
        refusal = refusal == null ? reserve(length) : refusal;
        return refusal == null ? place(request) : refusal;
    }

    /** A client that waits for "100 Continue" is refused at once if there is no place; others after their body. */
    private Refusal place(HttpRequest request) {
        boolean inference = connector == ConnectorType.INFERENCE_CONNECTOR || connector == ConnectorType.ALL;
        if (inference && !HttpMethod.OPTIONS.equals(request.method())) {
            noPlace = Queue.objection(request.uri(), peer);
        }
        return noPlace != null && HttpUtil.is100ContinueExpected(request)
                ? Refusal.busy(noPlace.getMessage(), noPlace.kind()) : null;
    }

    /** Why the body is read no further than this piece, or null. */
    Refusal goesOn(HttpContent content) {
        if (content.decoderResult().isFailure()) {
            return Refusal.malformed("Invalid HTTP message.");
        }
        Refusal refusal = chunked ? reserve(content.content().readableBytes()) : null;
        return refusal == null && form != null ? form.read(content.content()) : refusal;
    }

    /** Why the body, which came compressed, may not grow by so many bytes, or null. */
    Refusal unpacks(long bytes) {
        unpacked += bytes;
        return hold(bytes, unpacked);
    }

    private Refusal reserve(long bytes) {
        return hold(bytes, taken + bytes);
    }

    private Refusal hold(long bytes, long body) {
        int most = ConfigManager.getInstance().getMaxRequestSize();
        if (body > most) {
            return Refusal.tooLarge("The body has more than " + most + " bytes (max_request_size).");
        }
        if (!Budget.take(peer, bytes)) {
            return Refusal.busy(Budget.FULL, Kind.MEMORY_FULL);
        }
        taken += bytes;
        return null;
    }

    /** It needs its bytes no longer. */
    void settle() {
        Budget.give(peer, taken);
        taken = 0;
        unpacked = 0;
        form = null;
        openInference = false;
    }
}
