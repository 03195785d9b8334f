package frontend;

import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Requests for explanations. One to an archive that gives none is refused at its head, so that it takes no place in the
 * queue of an archive that is there to predict.
 */
final class Explanations {
    /** The header by which TorchServe's own handlers tell a worker that an explanation is wanted. */
    static final String WANTED = "explain";

    /** The runtime of archives that explain, and their variant (handlers/explanations/__init__.py). */
    static final String RUNTIME = "explain";

    private static final Pattern TARGET = Pattern.compile("/explanations/(?<name>[^/]+)(?:/(?<version>[^/]+))?"
            + "|/v1/models/(?<first>[^/:]+):explain|/v2/models/(?<second>[^/]+)/explain");

    private Explanations() {}

    /** Why a request to that target is not read further, or null. TorchServe says so itself where a model is unknown. */
    static Refusal refusal(String target) {
        Matcher asked;
        try {
            asked = TARGET.matcher(new QueryStringDecoder(target).path());
        } catch (IllegalArgumentException malformed) { // TorchServe's handlers say so
            return null;
        }
        if (!asked.matches()) {
            return null;
        }
        String name = asked.group("name") != null ? asked.group("name")
                : asked.group("first") != null ? asked.group("first") : asked.group("second");
        Series archive = Series.of(name, asked.group("version"));
        return archive == null || archive.explains() ? null : Refusal.malformed(sentence(name, archive));
    }

    /** As handlers/explanations/__init__.py has it, which answers where this front end does not run. */
    private static String sentence(String name, Series archive) {
        String model = archive.labels().get(0);
        return archive.labels().get(1).isEmpty() ? name + " gives no explanations: it has no model."
                : name + " gives no explanations; ask /explanations/" + model + "-" + RUNTIME + ", an archive that this "
                        + "command builds: make archive MODELS=" + model + " VARIANTS=" + RUNTIME;
    }
}
