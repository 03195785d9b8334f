package frontend;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.util.List;

/** A record as a line for serving/tracing/export.py, which makes spans of it: whole times in nanoseconds since 1970. */
final class TraceLine {
    private static final double MILLISECOND = 1e6;

    private TraceLine() {}

    static String of(RequestRecord record) {
        JsonObject line = new JsonObject();
        line.addProperty("trace", record.trace.trace);
        line.addProperty("parent", record.trace.parent);
        line.addProperty("state", record.trace.state);
        line.addProperty("begin", record.sinceEpoch(record.began));
        line.addProperty("end", record.sinceEpoch(record.ended));
        line.addProperty("error", record.kind == null ? null : record.kind.label());
        line.add("attributes", attributes(record));
        line.add("stages", stages(record));
        return line.toString();
    }

    /** How many spans are made of it. */
    static int spans(RequestRecord record) {
        return 1 + stages(record).size();
    }

    private static JsonObject attributes(RequestRecord record) {
        JsonObject made = new JsonObject();
        made.addProperty("tsi.api", record.api);
        text(made, "http.request.method", record.method);
        if (record.status > 0) {
            made.addProperty("http.response.status_code", record.status);
        }
        if (record.model != null) {
            List<String> labels = record.model.labels();
            text(made, "tsi.model", labels.get(0));
            text(made, "tsi.variant", labels.get(1));
            text(made, "tsi.version", labels.get(2));
        }
        for (String name : record.served == null ? List.<String>of() : List.of("batch-size", "tokens", "pixels")) {
            long count = record.served.count(name);
            if (count > 0) {
                made.addProperty("tsi." + name.replace('-', '_'), count);
            }
        }
        text(made, "tsi.request_id", record.id);
        return made;
    }

    private static void text(JsonObject made, String name, String value) {
        if (!value.isEmpty()) {
            made.addProperty(name, value);
        }
    }

    private static JsonArray stages(RequestRecord record) {
        JsonArray made = new JsonArray();
        Served served = record.served;
        if (served == null) {
            return made;
        }
        made.add(stage(record, "queue", served.queued, served.taken));
        long at = served.began;
        for (String name : Series.STAGES) {
            Double taken = served.stage(name);
            if (at > 0 && taken != null) {
                long end = at + Math.round(taken * MILLISECOND);
                made.add(stage(record, name, at, end));
                at = end;
            }
        }
        return made;
    }

    private static JsonArray stage(RequestRecord record, String name, long begin, long end) {
        JsonArray made = new JsonArray();
        made.add(name);
        made.add(record.sinceEpoch(begin));
        made.add(record.sinceEpoch(end));
        return made;
    }
}
