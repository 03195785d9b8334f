package frontend;

import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The trace that a request belongs to, after W3C's trace context, and whether the request is recorded in it. */
final class TraceContext {
    static final String PARENT = "traceparent";
    static final String STATE = "tracestate";
    /** Asks a worker to say when it began (handlers/figures.py). */
    static final String TRACED = "x-traced";

    private static final Pattern HEADER = Pattern.compile(
            "(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?");
    private static final int SAMPLED = 1;

    final String trace; // 32 hexadecimal digits
    final String parent; // 16, or null where the request begins the trace
    final String state; // of other vendors, as it came; or null
    final boolean recorded;

    private TraceContext(String trace, String parent, String state, boolean recorded) {
        this.trace = trace;
        this.parent = parent;
        this.state = state;
        this.recorded = recorded;
    }

    /**
     * The client's trace, or a new one for the share of requests that the settings say; null where there is neither.
     * {@code parents} are the values of the header traceparent: of several, none counts.
     */
    static TraceContext of(List<String> parents, List<String> states) {
        Matcher given = parents.size() == 1 ? HEADER.matcher(parents.get(0).strip()) : null;
        if (given != null && given.matches() && !(given.group(1).equals("00") && given.group(5) != null)) {
            boolean sampled = (Integer.parseInt(given.group(4), 16) & SAMPLED) != 0;
            String state = states.isEmpty() ? null : String.join(",", states);
            return new TraceContext(given.group(2), given.group(3), state, Settings.TRACES && sampled);
        }
        return Settings.TRACES && ThreadLocalRandom.current().nextDouble() < Settings.TRACE_RATIO
                ? new TraceContext(fresh(), null, null, true) : null;
    }

    private static String fresh() {
        byte[] id = new byte[16];
        ThreadLocalRandom.current().nextBytes(id);
        id[0] |= 1; // never all zeros
        return HexFormat.of().formatHex(id);
    }
}
