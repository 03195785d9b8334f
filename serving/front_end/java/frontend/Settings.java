package frontend;

import com.sun.management.UnixOperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;

/** The settings that serving/config.py passes as system properties, and fixed limits. */
final class Settings {
    /** Bytes of request bodies that all connections may hold together. */
    static final long REQUEST_BYTES = Long.getLong("frontend.requestBytes", Runtime.getRuntime().maxMemory() / 2);

    /** Whether one address's share of a full queue, and of these bytes, is bounded. */
    static final boolean FAIR = !"false".equals(System.getProperty("frontend.fair"));

    /** Whether GET /ping and /v2/health/ready need no token, for probes. */
    static final boolean OPEN_PING = Boolean.getBoolean("frontend.openPing");

    /** The file of the inference tokens that do not expire; null without one. */
    static final String TOKEN_FILE = path("frontend.tokenFile");

    /** The file of the request log, null without one; the bytes that it may have; whether it names clients' addresses. */
    static final String REQUEST_LOG = path("frontend.requestLog");
    static final long REQUEST_LOG_BYTES = Long.getLong("frontend.requestLogBytes", 100L << 20);
    static final boolean LOG_CLIENTS = Boolean.getBoolean("frontend.logClients");

    /** The program that sends spans, null without traces, and its Python; the share of requests that begin a trace. */
    static final String TRACER = path("frontend.tracer");
    static final String PYTHON = path("frontend.python");
    static final boolean TRACES = TRACER != null;
    static final double TRACE_RATIO = Double.parseDouble(System.getProperty("frontend.traceRatio", "1"));

    /** The program that reads the state of the GPUs (serving/nvml.py); null without a GPU. */
    static final String GPUS = path("frontend.gpus");

    /** Connections that one port may have open, of all that the process may have: there are five ports. */
    static final int CONNECTIONS = Math.min(Integer.getInteger("frontend.connections", 1_000), descriptors() / 10);

    /** Calls that one gRPC connection may have under way. */
    static final int CALLS = 100;

    static final int URLENCODED_BYTES = 1 << 16;
    static final int FORM_PARTS = 1_000;
    static final int HEADERS = 100;
    static final int HEAD_BYTES = 1 << 15;
    static final int SILENCE_S = Integer.getInteger("frontend.silenceS", 30);
    static final int REQUEST_S = 300;

    /** How long a request waits for a model whose workers have all ended. */
    static final int WORKER_WAIT_S = Integer.getInteger("frontend.workerWaitS", 30);

    /** How long after its last answer a connection counts as idle: until then its client may be about to ask again. */
    static final long IDLE_NS = 200_000_000;

    static final int LINGER_S = 2;

    /** How long requests under way have for their answers when the server ends. */
    static final int END_S = 2;
    static final String RETRY_AFTER_S = "1";
    static final long RETRY_AFTER_MS = 1_000;

    private Settings() {}

    /** A path that was percent-encoded, since TorchServe splits Java's options at spaces. */
    private static String path(String property) {
        String given = System.getProperty(property);
        return given == null ? null : URLDecoder.decode(given, StandardCharsets.UTF_8);
    }

    private static int descriptors() {
        Object system = ManagementFactory.getOperatingSystemMXBean();
        long most = system instanceof UnixOperatingSystemMXBean
                ? ((UnixOperatingSystemMXBean) system).getMaxFileDescriptorCount() : Integer.MAX_VALUE;
        return (int) Math.min(most, Integer.MAX_VALUE);
    }
}
