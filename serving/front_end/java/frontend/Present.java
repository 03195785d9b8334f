package frontend;

import io.prometheus.client.Collector;
import io.prometheus.client.GaugeMetricFamily;
import java.lang.reflect.Field;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.ModelVersionedRefs;

/** The metrics that are looked up when /metrics is read, at no cost to requests: queues, workers and tokens. */
final class Present extends Collector {
    private static final List<String> MODEL = List.of("model", "variant", "version");
    private static final Map<String, Field> TOKENS = Map.of("inference", expiry("inferenceExpirationTimeMinutes"),
            "management", expiry("managementExpirationTimeMinutes"));

    private static Field expiry(String name) {
        try {
            Field field = TokenAuthorization.class.getDeclaredField(name); // no method says when a token expires
            field.setAccessible(true);
            return field;
        } catch (NoSuchFieldException changed) {
            throw new ExceptionInInitializerError(changed);
        }
    }

    @Override
    public List<MetricFamilySamples> collect() {
        List<Model> models = models();
        models.forEach(Series::of); // a model's counters are there before its first request is
        return List.of(
                of(models, "tsi_queue_length", "Requests that wait for a worker.", Queue::length),
                of(models, "tsi_queue_capacity", "Requests that may wait for a worker.", Queue::places),
                of(models, "tsi_workers_ready", "Workers that have the model loaded.", Workers::ready),
                of(models, "tsi_workers_wanted", "Workers that the model is to have.", Model::getMinWorkers),
                tokens());
    }

    private static List<Model> models() {
        List<Model> found = new ArrayList<>();
        for (Map.Entry<String, ModelVersionedRefs> each : ModelManager.getInstance().getAllModels()) {
            each.getValue().getAllVersions().forEach(version -> found.add(version.getValue()));
        }
        return found;
    }

    /** Two archives may state the same model and variant: their values are added. */
    private static MetricFamilySamples of(List<Model> models, String name, String help, ToDoubleFunction<Model> value) {
        Map<List<String>, Double> sums = new HashMap<>();
        models.forEach(model -> sums.merge(Series.of(model).labels(), value.applyAsDouble(model), Double::sum));
        GaugeMetricFamily family = new GaugeMetricFamily(name, help, MODEL);
        sums.forEach(family::addMetric);
        return family;
    }

    /** Without samples where the server asks for no tokens. */
    private static MetricFamilySamples tokens() {
        GaugeMetricFamily family = new GaugeMetricFamily("tsi_token_expiry_timestamp_seconds",
                "When a token expires, in seconds since 1970; after that the API refuses it.", List.of("token"));
        TOKENS.forEach((token, field) -> {
            Instant expires = expires(field);
            if (expires != null) {
                family.addMetric(List.of(token), expires.getEpochSecond());
            }
        });
        return family;
    }

    private static Instant expires(Field field) {
        try {
            return (Instant) field.get(null);
        } catch (IllegalAccessException never) { // the field was made accessible
            throw new IllegalStateException(never);
        }
    }
}
