package frontend;

import io.prometheus.client.Counter;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.archive.model.InvalidModelException;
import org.pytorch.serve.archive.model.ModelArchive;
import org.pytorch.serve.archive.model.ModelVersionNotFoundException;
import org.pytorch.serve.archive.utils.ArchiveUtils;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;

/**
 * One model's part of {@link Metrics}. Its labels are the model and the variant of serving/identity.py, which
 * the archive states, and the version that it is registered with.
 */
final class Series {
    /** Where handlers/worker.py puts what a worker counted in a batch: "batch=8,tokens=120". No client sees it. */
    private static final String FIGURES = "x-figures";

    static final String[] STAGES = {"preprocess", "inference", "postprocess"};
    private static final String[] CLASSES = {"2xx", "4xx", "5xx"};
    private static final Map<Model, Series> BY_MODEL = new ConcurrentHashMap<>();

    private final String model;
    private final String variant;
    private final String version;
    private final boolean explains;

    private Series(String model, String variant, String version, boolean explains) {
        this.model = model;
        this.variant = variant;
        this.version = version;
        this.explains = explains;
        begin();
    }

    static Series of(Model model) {
        return BY_MODEL.computeIfAbsent(model, Series::read);
    }

    /** Null where no such model is registered. */
    static Series of(String name, String version) {
        try {
            Model model = ModelManager.getInstance().getModel(name, version);
            return model == null ? null : of(model);
        } catch (ModelVersionNotFoundException unknown) {
            return null; // TorchServe says so itself
        }
    }

    /** The model is not served any more; what was counted of it stays. */
    static void forget(Model model) {
        BY_MODEL.remove(model);
    }

    /** The version that a request gets now: the one that it names, else the default; null where there is none. */
    static String version(String name, String version) {
        try {
            Model model = version == null ? ModelManager.getInstance().getModel(name, null) : null;
            return model == null ? version : model.getVersion();
        } catch (ModelVersionNotFoundException unknown) {
            return version; // TorchServe says so itself
        }
    }

    private static Series read(Model model) {
        Map<?, ?> archive = section(model.getModelArchive());
        if (!archive.containsKey("runtime")) {
            return new Series(model.getModelName(), "", model.getVersion(), true);
        }
        Object variant = "null".equals(archive.get("task")) ? "" : archive.get("variant");
        return new Series(String.valueOf(archive.get("model")), String.valueOf(variant), model.getVersion(),
                Explanations.RUNTIME.equals(archive.get("runtime")));
    }

    /** What this project wrote about the archive; empty for one that it did not build. */
    private static Map<?, ?> section(ModelArchive archive) {
        String name = archive.getManifest().getModel().getConfigFile();
        try {
            Map<String, Object> config = name == null ? null
                    : ArchiveUtils.readYamlFile(new File(archive.getModelDir(), name));
            Object section = config == null ? null : config.get("archive");
            return section instanceof Map ? (Map<?, ?>) section : Map.of();
        } catch (InvalidModelException | IOException unreadable) {
            return Map.of();
        }
    }

    /** Creates the counters that alerts read, at 0: Prometheus sees no increase in a counter that begins at 1. */
    private void begin() {
        Arrays.stream(CLASSES).forEach(status -> Metrics.DURATION.labels(model, variant, version, "total", status));
        Arrays.stream(Kind.values()).forEach(this::errors);
        Metrics.RESTARTS.labels(model, variant, version);
    }

    /** Whether its archive explains answers; of one that was not built here, its own handler says so. */
    boolean explains() {
        return explains;
    }

    List<String> labels() {
        return List.of(model, variant, version);
    }

    Counter.Child errors(Kind kind) {
        return Metrics.ERRORS.labels(model, variant, version, kind.label());
    }

    /** A request is answered, so many nanoseconds after it was whole. */
    void answered(int status, long nanos) {
        observe("total", status, seconds(nanos));
    }

    /** A worker answered a request that had waited so many nanoseconds for it. Takes what is not for clients from the headers. */
    void served(int status, long waited, Map<String, String> headers) {
        observe("queue", status, seconds(waited));
        if (headers == null) {
            return;
        }
        String figures = headers.remove(FIGURES);
        try {
            for (String stage : STAGES) {
                String ms = headers.get("x-" + stage + "-ms");
                if (ms != null) {
                    observe(stage, status, Double.parseDouble(ms) / 1e3);
                }
            }
            if (figures != null) {
                count(figures);
            }
        } catch (NumberFormatException other) {
            return; // headers of an archive that was not built here
        }
    }

    private void count(String figures) {
        for (String each : figures.split(",")) {
            int equals = each.indexOf('=');
            double value = Double.parseDouble(each.substring(equals + 1));
            switch (each.substring(0, Math.max(equals, 0))) {
                case "batch":
                    Metrics.BATCH.labels(model, variant, version).observe(value);
                    break;
                case "tokens":
                    Metrics.TOKENS.labels(model, variant, version).inc(value);
                    break;
                case "pixels":
                    Metrics.PIXELS.labels(model, variant, version).inc(value);
                    break;
                default:
                    break; // of a later worker
            }
        }
    }

    void restarted() {
        Metrics.RESTARTS.labels(model, variant, version).inc();
    }

    void loaded(long nanos) {
        Metrics.LOAD.labels(model, variant, version).set(seconds(nanos));
    }

    private void observe(String stage, int status, double seconds) {
        String answer = CLASSES[status < 400 ? 0 : status < 500 ? 1 : 2];
        Metrics.DURATION.labels(model, variant, version, stage, answer).observe(seconds);
    }

    private static double seconds(long nanos) {
        return nanos / (double) TimeUnit.SECONDS.toNanos(1);
    }
}
