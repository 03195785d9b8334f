package frontend;

import io.prometheus.client.CollectorRegistry;
import io.prometheus.client.Counter;
import io.prometheus.client.Gauge;
import io.prometheus.client.Histogram;
import java.util.Arrays;
import java.util.List;

/** What is counted as it happens, for /metrics: names, labels and buckets (docs/monitoring.md). */
public final class Metrics {
    private static final String[] MODEL = {"model", "variant", "version"};
    private static final double[] SECONDS = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60};

    static final Histogram DURATION = Histogram.build("tsi_request_duration_seconds",
            "Seconds from a whole request to its answer (stage total), and in each stage on the way.")
            .labelNames(and("stage", "status")).buckets(SECONDS).create();

    static final Histogram BATCH = Histogram.build("tsi_batch_size", "Requests that a worker got at once.")
            .labelNames(MODEL).buckets(1, 2, 4, 8, 16, 32, 64).create();

    static final Counter TOKENS = Counter.build("tsi_tokens_total", "Tokens that the model read, without padding.")
            .labelNames(MODEL).create();

    static final Counter PIXELS = Counter.build("tsi_pixels_total", "Pixels of the images that were read, as sent.")
            .labelNames(MODEL).create();

    static final Counter ERRORS = Counter.build("tsi_errors_total",
            "Requests without a model's answer, by kind; without a model where none is known.")
            .labelNames(and("kind")).create();

    static final Counter RESTARTS = Counter.build("tsi_worker_restarts_total",
            "Workers that were started again after they had ended.").labelNames(MODEL).create();

    static final Gauge LOAD = Gauge.build("tsi_model_load_seconds",
            "Seconds that the last worker to start took to load the model and warm it up.").labelNames(MODEL).create();

    static final Counter SPANS = Counter.build("tsi_trace_spans_total",
            "Spans of traces that were sent to the collector, or lost.").labelNames("result").create();

    static final Counter LINES = Counter.build("tsi_request_log_lines_total",
            "Lines of the request log that were written, or lost.").labelNames("result").create();

    private static boolean begun;

    private Metrics() {}

    /** Registers them, and those of {@link Present}, with TorchServe's own metrics, once. */
    public static synchronized void begin() {
        if (!begun) {
            begun = true;
            List.of(DURATION, BATCH, TOKENS, PIXELS, ERRORS, RESTARTS, LOAD, SPANS, LINES, new Present())
                    .forEach(CollectorRegistry.defaultRegistry::register);
            List.of("exported", "dropped").forEach(SPANS::labels);
            List.of("written", "dropped").forEach(LINES::labels);
            if (Settings.GPUS != null) {
                CollectorRegistry.defaultRegistry.register(new Gpus(Settings.PYTHON, Settings.GPUS));
            }
            Records.areWanted(); // a process that sends spans starts before the first request
        }
    }

    private static String[] and(String... more) {
        String[] all = Arrays.copyOf(MODEL, MODEL.length + more.length);
        System.arraycopy(more, 0, all, MODEL.length, more.length);
        return all;
    }

    /** Counts an error of a request; {@code model} is null where none is known. */
    static void error(Series model, Kind kind) {
        (model == null ? ERRORS.labels("", "", "", kind.label()) : model.errors(kind)).inc();
    }
}
