package frontend;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes a line per request to a file, which is renamed at its size limit. A line that cannot be written, for example
 * to a full disk, is counted and lost.
 */
final class RequestLog implements Outbox.Sink {
    private static final Logger LOGGER = LoggerFactory.getLogger(RequestLog.class);
    private static final int OLD = 3; // renamed files that are kept: .1 is the youngest
    private static final String OWNER_ALONE = "rw-------";

    private final Path path;
    private final long most; // bytes of a file
    private FileChannel file;
    private boolean failing;

    RequestLog(String path, long most) {
        this.path = Path.of(path);
        this.most = most;
    }

    @Override
    public void write(List<RequestRecord> records) {
        StringBuilder lines = new StringBuilder();
        records.forEach(each -> lines.append(RequestLine.of(each)).append('\n'));
        try {
            append(ByteBuffer.wrap(lines.toString().getBytes(StandardCharsets.UTF_8)));
            Metrics.LINES.labels("written").inc(records.size());
            failing = false;
        } catch (IOException full) {
            Metrics.LINES.labels("dropped").inc(records.size());
            complain(full);
        }
    }

    @Override
    public void lose(RequestRecord record) {
        Metrics.LINES.labels("dropped").inc();
    }

    private void append(ByteBuffer lines) throws IOException {
        if (file == null || !Files.exists(path)) { // another program may have moved it away
            open();
        }
        long before = file.size();
        if (before > 0 && before + lines.remaining() > most) {
            rotate();
            before = 0;
        }
        try {
            while (lines.hasRemaining()) {
                file.write(lines);
            }
        } catch (IOException full) {
            cut(before);
            throw full;
        }
    }

    private void open() throws IOException {
        close();
        file = FileChannel.open(path,
                Set.of(StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND),
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(OWNER_ALONE)));
    }

    private void close() throws IOException {
        if (file != null) {
            file.close();
            file = null;
        }
    }

    private void rotate() throws IOException {
        for (int age = OLD; age > 0; age--) {
            Path younger = age == 1 ? path : aged(age - 1);
            if (Files.exists(younger)) {
                Files.move(younger, aged(age), StandardCopyOption.REPLACE_EXISTING);
            }
        }
        open();
    }

    private Path aged(int age) {
        return path.resolveSibling(path.getFileName() + "." + age);
    }

    /** A part of a line would spoil the next one. */
    private void cut(long size) {
        try {
            file.truncate(size);
        } catch (IOException | IllegalArgumentException device) {
            return; // not a file of a size
        }
    }

    private void complain(IOException why) {
        if (!failing) {
            failing = true;
            LOGGER.warn("The request log cannot be written ({}); its lines are lost until it can.",
                    why.getClass().getSimpleName());
        }
    }
}
