package frontend;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hands records to a process of its own, which makes spans of them with OpenTelemetry's SDK and sends them to a collector
 * (serving/tracing/export.py). That process reports how many it has sent and lost. It ends with this process,
 * whose pipe it reads, and is started again if it ends by itself.
 */
final class Tracer implements Outbox.Sink {
    private static final Logger LOGGER = LoggerFactory.getLogger(Tracer.class);
    private static final long PAUSE_NS = TimeUnit.SECONDS.toNanos(10); // between two starts
    private static final String DROPPED = "dropped";

    private final String python;
    private final String program;
    private Process process;
    private Writer lines;
    private AtomicLong held; // spans that the process has
    private long started;

    Tracer(String python, String program) {
        this.python = python;
        this.program = program;
        start();
    }

    private void start() {
        started = System.nanoTime();
        try {
            process = new ProcessBuilder(python, program).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        } catch (IOException missing) {
            LOGGER.error("Spans are lost: {} cannot be started.", python);
            return;
        }
        lines = new BufferedWriter(new OutputStreamWriter(process.getOutputStream(), StandardCharsets.UTF_8));
        held = new AtomicLong();
        InputStream said = process.getInputStream();
        AtomicLong holds = held;
        Thread reader = new Thread(() -> read(said, holds), "frontend-traces-sent");
        reader.setDaemon(true);
        reader.start();
    }

    /** Lines of "exported 512" and "dropped 512". What the process holds at its end is lost. */
    private static void read(InputStream said, AtomicLong held) {
        try (BufferedReader reader = new BufferedReader(new InputStreamReader(said, StandardCharsets.UTF_8))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                int space = line.indexOf(' ');
                long spans = Long.parseLong(line.substring(space + 1));
                held.addAndGet(-spans);
                Metrics.SPANS.labels(line.substring(0, space)).inc(spans);
            }
        } catch (IOException | RuntimeException ended) {
            LOGGER.warn("The exporter of spans has ended.");
        }
        lost(held);
    }

    private static void lost(AtomicLong held) {
        Metrics.SPANS.labels(DROPPED).inc(Math.max(held.getAndSet(0), 0));
    }

    @Override
    public void write(List<RequestRecord> records) {
        if ((process == null || !process.isAlive()) && System.nanoTime() - started > PAUSE_NS) {
            start();
        }
        if (process == null || !process.isAlive()) {
            records.forEach(this::lose);
            return;
        }
        held.addAndGet(records.stream().mapToInt(TraceLine::spans).sum());
        try {
            for (RequestRecord each : records) {
                lines.append(TraceLine.of(each)).append('\n');
            }
            lines.flush();
        } catch (IOException ended) {
            process.destroy();
            lost(held);
        }
    }

    @Override
    public void lose(RequestRecord record) {
        Metrics.SPANS.labels(DROPPED).inc(TraceLine.spans(record));
    }
}
