package frontend;

import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.Arrays;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.util.TokenAuthorization.TokenType;

/** Checks who may send a body, once the head is there. TorchServe's own handler checks the whole request again. */
final class Access {
    /** TorchServe's message for a token that is missing, wrong or expired. */
    static final String DENIED =
            "Token Authorization failed. Token either incorrect, expired, or not provided correctly";

    private Access() {}

    /** Why the request is not read further, or null. */
    static Refusal refusal(ConnectorType connector, HttpRequest request, boolean body) {
        if (!TokenAuthorization.isEnabled() || connector == ConnectorType.ALL) {
            return null;
        }
        if (connector == ConnectorType.METRICS_CONNECTOR || describesApi(request)
                || connector == ConnectorType.INFERENCE_CONNECTOR && isOpenPing(request)) {
            return body ? Refusal.tooLarge("This request takes no body.") : null;
        }
        boolean known = connector == ConnectorType.MANAGEMENT_CONNECTOR
                ? holds(request, TokenType.MANAGEMENT) || holds(request, TokenType.TOKEN_API)
                : holds(request, TokenType.INFERENCE) || isMounted(request);
        return known ? null : Refusal.unauthorized(
                DENIED + "; send the header Authorization: Bearer <token>.");
    }

    /** Whether the request is a probe's, which needs no token where config.properties says so. */
    static boolean isOpenPing(HttpRequest request) {
        return Settings.OPEN_PING && HttpMethod.GET.equals(request.method())
                && (asks(request, "ping") || asks(request, "v2", "health", "ready"));
    }

    /** Whether the request holds an inference token that does not expire. */
    static boolean isMounted(HttpRequest request) {
        return MountedTokens.hold(request.headers().get(HttpHeaderNames.AUTHORIZATION));
    }

    /** Why the request's header Expect is refused, or null. */
    static Refusal expectation(HttpRequest request) {
        String expected = request.headers().get(HttpHeaderNames.EXPECT);
        if (expected == null || HttpHeaderValues.CONTINUE.contentEqualsIgnoreCase(expected)) {
            return null;
        }
        return new Refusal(HttpResponseStatus.EXPECTATION_FAILED, "ExpectationFailedException",
                "Expect can be \"100-continue\" and nothing else.", Kind.BAD_REQUEST);
    }

    private static boolean holds(HttpRequest request, TokenType type) {
        String given = request.headers().get(HttpHeaderNames.AUTHORIZATION);
        return given != null && TokenAuthorization.checkTokenAuthorization(
                TokenAuthorization.parseTokenFromBearerTokenHeader(given), type);
    }

    /** Whether the target's path has these segments; without any it is the root. */
    private static boolean asks(HttpRequest request, String... wanted) {
        try {
            String[] segments = new QueryStringDecoder(request.uri()).path().split("/");
            return wanted.length == 0 ? segments.length == 0
                    : segments.length == wanted.length + 1 && segments[0].isEmpty()
                            && Arrays.asList(wanted).equals(Arrays.asList(segments).subList(1, segments.length));
        } catch (IllegalArgumentException malformed) {
            return false;
        }
    }

    /** The API's description, which TorchServe gives without a token. */
    private static boolean describesApi(HttpRequest request) {
        return asks(request) || asks(request, "api-description");
    }
}
