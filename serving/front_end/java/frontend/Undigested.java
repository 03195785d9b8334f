package frontend;

import java.io.FilterInputStream;
import java.io.InputStream;
import java.security.MessageDigest;

/**
 * An archive's bytes, read without a digest of them. ZipUtils makes it in place of a DigestInputStream, whose digest it
 * never reads. On two cores the digest takes twice as long as the rest of unpacking.
 */
public final class Undigested extends FilterInputStream {
    public Undigested(InputStream archive, MessageDigest unused) {
        super(archive);
    }
}
