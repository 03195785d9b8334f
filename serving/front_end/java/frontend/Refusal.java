package frontend;

import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.HttpResponseStatus;
import org.pytorch.serve.http.ErrorResponse;
import org.pytorch.serve.util.NettyUtils;

/** The answer to a request that does not reach TorchServe's handlers. */
final class Refusal {
    private final HttpResponseStatus status;
    private final String type;
    private final String message;
    private final Kind kind;

    Refusal(HttpResponseStatus status, String type, String message, Kind kind) {
        this.status = status;
        this.type = type;
        this.message = message;
        this.kind = kind;
    }

    static Refusal malformed(String message) {
        return new Refusal(HttpResponseStatus.BAD_REQUEST, "BadRequestException", message, Kind.BAD_REQUEST);
    }

    /** The sender shows no valid token. Gate adds the header that a 401 needs. */
    static Refusal unauthorized(String message) {
        return new Refusal(HttpResponseStatus.UNAUTHORIZED, "InvalidKeyException", message, Kind.TOKEN);
    }

    static Refusal unsupported(String message) {
        return new Refusal(HttpResponseStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaTypeException", message,
                Kind.UNSUPPORTED_MEDIA_TYPE);
    }

    static Refusal tooLarge(String message) {
        return new Refusal(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, "RequestTooLargeException", message,
                Kind.TOO_LARGE);
    }

    static Refusal busy(String message, Kind kind) {
        return new Refusal(HttpResponseStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableException", message, kind);
    }

    static Refusal slow(String message) {
        return new Refusal(HttpResponseStatus.REQUEST_TIMEOUT, "RequestTimeoutException", message, Kind.TIMEOUT);
    }

    Kind kind() {
        return kind;
    }

    void send(ChannelHandlerContext context) {
        NettyUtils.sendJsonResponse(context, new ErrorResponse(status.code(), type, message), status);
    }
}
