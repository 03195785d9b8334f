package frontend;

import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * The methods that the inference URLs take. TorchServe predicts for every method, even for a GET, which proxies may
 * repeat or cache. curl -T sends PUT.
 */
final class Methods {
    private static final Map<Pattern, String> ALLOWED = new LinkedHashMap<>();

    static {
        ALLOWED.put(Pattern.compile("/ping"), "GET, HEAD");
        ALLOWED.put(Pattern.compile("/(predictions|explanations)/[^/]+(/[^/]+)?"), "POST, PUT, OPTIONS");
        ALLOWED.put(Pattern.compile("/v1/models/[^/]+:(predict|explain)"), "POST, OPTIONS");
        ALLOWED.put(Pattern.compile("/v2/models/[^/]+/explain"), "POST, OPTIONS");
        ALLOWED.put(Pattern.compile("/v2/models/[^/]+(/versions/[^/]+)?/infer"), "POST, OPTIONS");
        ALLOWED.put(Pattern.compile("/v2(/health/(live|ready)|/models/[^/]+(/versions/[^/]+)?(/ready)?)?"), "GET, OPTIONS");
    }

    private Methods() {}

    /** The methods that a target takes, as the header Allow has them; null for a URL that is not listed. */
    static String of(String target) {
        String path;
        try {
            path = new QueryStringDecoder(target).path();
        } catch (IllegalArgumentException malformed) { // TorchServe's handlers say so
            return null;
        }
        return ALLOWED.entrySet().stream().filter(each -> each.getKey().matcher(path).matches())
                .map(Map.Entry::getValue).findFirst().orElse(null);
    }

    /** Why the request's method is refused, or null. */
    static Refusal refusal(HttpRequest request) {
        String allowed = of(request.uri());
        String given = request.method().name();
        if (allowed == null || Arrays.asList(allowed.split(", ")).contains(given)) {
            return null;
        }
        return new Refusal(HttpResponseStatus.METHOD_NOT_ALLOWED, "MethodNotAllowedException",
                "This URL does not take the method " + given + "; it takes: " + allowed + ".", Kind.NOT_FOUND);
    }
}
