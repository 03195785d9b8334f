package frontend;

import com.google.gson.JsonObject;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.List;

/** A record as a line of the request log, in JSON (docs/monitoring.md). A field without a value is left out. */
final class RequestLine {
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);
    private static final long SECOND = 1_000_000_000;
    private static final long MICROSECOND = 1_000;
    private static final double THOUSAND = 1e3;

    private RequestLine() {}

    static String of(RequestRecord record) {
        JsonObject line = new JsonObject();
        long began = record.sinceEpoch(record.began);
        line.addProperty("time", TIME.format(Instant.ofEpochSecond(began / SECOND, began % SECOND)));
        line.addProperty("api", record.api);
        text(line, "method", record.method);
        model(line, record.model);
        if (record.status > 0) {
            line.addProperty("status", record.status);
        }
        text(line, "error", record.kind == null ? "" : record.kind.label());
        line.addProperty("receive_ms", millis(record.whole - record.began));
        worker(line, record.served);
        line.addProperty("total_ms", millis(record.ended - record.began));
        line.addProperty("bytes_in", record.bytesIn);
        line.addProperty("bytes_out", record.bytesOut);
        text(line, "request_id", record.id);
        text(line, "trace_id", record.trace == null ? "" : record.trace.trace);
        text(line, "client", Settings.LOG_CLIENTS ? record.peer : "");
        return line.toString();
    }

    private static void model(JsonObject line, Series model) {
        List<String> labels = model == null ? List.of("", "", "") : model.labels();
        text(line, "model", labels.get(0));
        text(line, "variant", labels.get(1));
        text(line, "version", labels.get(2));
    }

    private static void worker(JsonObject line, Served served) {
        if (served == null) {
            return;
        }
        line.addProperty("queue_ms", millis(served.waited()));
        for (String stage : Series.STAGES) {
            Double taken = served.stage(stage);
            if (taken != null) {
                line.addProperty(stage + "_ms", taken);
            }
        }
        count(line, "batch_size", served.count("batch-size"));
        count(line, "tokens", served.count("tokens"));
        count(line, "pixels", served.count("pixels"));
    }

    private static void text(JsonObject line, String name, String value) {
        if (!value.isEmpty()) {
            line.addProperty(name, value);
        }
    }

    private static void count(JsonObject line, String name, long value) {
        if (value > 0) {
            line.addProperty(name, value);
        }
    }

    private static double millis(long nanos) {
        return Math.max(nanos, 0) / MICROSECOND / THOUSAND; // as the headers have it
    }
}
