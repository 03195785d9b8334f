package frontend;

import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.util.TokenAuthorization.TokenType;

/** Who may send a body: looked at as soon as the head is there. TorchServe's own handler checks the whole request again. */
final class Access {
    private Access() {}

    /** Why the request is not read further, or null. */
    static Refusal refusal(ConnectorType connector, HttpRequest request, boolean body) {
        if (!TokenAuthorization.isEnabled() || connector == ConnectorType.ALL) {
            return null;
        }
        if (connector == ConnectorType.METRICS_CONNECTOR || describesApi(request)) {
            return body ? Refusal.tooLarge("This request takes no body.") : null;
        }
        boolean known = connector == ConnectorType.MANAGEMENT_CONNECTOR
                ? holds(request, TokenType.MANAGEMENT) || holds(request, TokenType.TOKEN_API)
                : holds(request, TokenType.INFERENCE);
        return known ? null : new Refusal(HttpResponseStatus.BAD_REQUEST, "InvalidKeyException",
                "Token Authorization failed. Token either incorrect, expired, or not provided correctly");
    }

    /** Why what the client expects before it sends its body does not come, or null. */
    static Refusal expectation(HttpRequest request) {
        String expected = request.headers().get(HttpHeaderNames.EXPECT);
        if (expected == null || HttpHeaderValues.CONTINUE.contentEqualsIgnoreCase(expected)) {
            return null;
        }
        return new Refusal(HttpResponseStatus.EXPECTATION_FAILED, "ExpectationFailedException",
                "Expect can be \"100-continue\" and nothing else.");
    }

    private static boolean holds(HttpRequest request, TokenType type) {
        String given = request.headers().get(HttpHeaderNames.AUTHORIZATION);
        return given != null && TokenAuthorization.checkTokenAuthorization(
                TokenAuthorization.parseTokenFromBearerTokenHeader(given), type);
    }

    /** The API's description, which TorchServe gives without a token. */
    private static boolean describesApi(HttpRequest request) {
        try {
            String[] segments = new QueryStringDecoder(request.uri()).path().split("/");
            return segments.length == 0 || segments.length == 2 && segments[1].equals("api-description");
        } catch (IllegalArgumentException malformed) {
            return false;
        }
    }
}
