package frontend;

import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.HttpResponseStatus;
import org.pytorch.serve.http.ErrorResponse;
import org.pytorch.serve.util.NettyUtils;

/** A request that is answered before it reaches TorchServe's handlers; the connection ends with the answer. */
final class Refusal {
    private final HttpResponseStatus status;
    private final String type;
    private final String message;

    Refusal(HttpResponseStatus status, String type, String message) {
        this.status = status;
        this.type = type;
        this.message = message;
    }

    static Refusal malformed(String message) {
        return new Refusal(HttpResponseStatus.BAD_REQUEST, "BadRequestException", message);
    }

    static Refusal tooLarge(String message) {
        return new Refusal(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, "RequestTooLargeException", message);
    }

    static Refusal busy(String message) {
        return new Refusal(HttpResponseStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableException", message);
    }

    static Refusal slow(String message) {
        return new Refusal(HttpResponseStatus.REQUEST_TIMEOUT, "RequestTimeoutException", message);
    }

    void send(ChannelHandlerContext context) {
        NettyUtils.sendJsonResponse(context, new ErrorResponse(status.code(), type, message), status);
    }
}
