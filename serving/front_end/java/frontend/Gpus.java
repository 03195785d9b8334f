package frontend;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import io.prometheus.client.Collector;
import io.prometheus.client.GaugeMetricFamily;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Memory and utilisation of the machine's GPUs. A process of its own asks the driver, and prints a line of JSON every
 * few seconds (serving/nvml.py). It ends with this process, whose pipe it reads, and is started again where it ends by
 * itself. If the last line is old, the metrics are absent.
 */
final class Gpus extends Collector {
    private static final Logger LOGGER = LoggerFactory.getLogger(Gpus.class);
    private static final long OLD_NS = TimeUnit.SECONDS.toNanos(30);
    private static final long PAUSE_S = 60; // between two starts
    private static final List<String> LABELS = List.of("gpu", "uuid");

    private final String python;
    private final String program;
    private volatile Seen seen = new Seen(new Gpu[0]);

    /** A GPU as the line has it; null for what the driver does not say. */
    private static final class Gpu {
        private String gpu;
        private String uuid;
        private Double memory_used;
        private Double memory_total;
        private Double utilization;
    }

    private static final class Seen {
        private final Gpu[] gpus;
        private final long at = System.nanoTime();

        Seen(Gpu[] gpus) {
            this.gpus = gpus;
        }
    }

    Gpus(String python, String program) {
        this.python = python;
        this.program = program;
        Thread reader = new Thread(this::work, "frontend-gpus");
        reader.setDaemon(true);
        reader.start();
    }

    private void work() {
        try {
            while (true) {
                read();
                LOGGER.warn("The process that asks for the GPUs has ended.");
                TimeUnit.SECONDS.sleep(PAUSE_S);
            }
        } catch (InterruptedException ended) {
            return;
        }
    }

    private void read() {
        try {
            // -I: nothing may be imported from the program's folder, which has modules of this project.
            Process process = new ProcessBuilder(python, "-I", program)
                    .redirectError(ProcessBuilder.Redirect.INHERIT).start();
            try (BufferedReader lines = new BufferedReader(
                    new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    seen = new Seen(new Gson().fromJson(line, Gpu[].class));
                }
            } finally {
                process.destroy();
            }
        } catch (IOException | JsonParseException failure) {
            LOGGER.error("The GPUs cannot be asked: {}", failure.getClass().getName());
        }
    }

    @Override
    public List<MetricFamilySamples> collect() {
        Seen now = seen;
        if (now.gpus.length == 0 || System.nanoTime() - now.at > OLD_NS) {
            return List.of();
        }
        return List.of(
                of(now, "tsi_gpu_memory_used_bytes", "Memory in use on the GPU, of all programs.", gpu -> gpu.memory_used),
                of(now, "tsi_gpu_memory_total_bytes", "Memory of the GPU.", gpu -> gpu.memory_total),
                of(now, "tsi_gpu_utilization_ratio", "Share of the last moment in which the GPU computed.",
                        gpu -> gpu.utilization));
    }

    private static MetricFamilySamples of(Seen now, String name, String help, Function<Gpu, Double> value) {
        GaugeMetricFamily family = new GaugeMetricFamily(name, help, LABELS);
        for (Gpu each : now.gpus) {
            Double known = value.apply(each);
            if (known != null) {
                family.addMetric(List.of(each.gpu, each.uuid), known);
            }
        }
        return family;
    }
}
