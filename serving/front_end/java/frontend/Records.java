package frontend;

/** Where the records of finished requests go: to the request log and to the traces, each by choice (docs/monitoring.md). */
final class Records {
    private static final Outbox LOG = Settings.REQUEST_LOG == null ? null
            : new Outbox("frontend-request-log", new RequestLog(Settings.REQUEST_LOG, Settings.REQUEST_LOG_BYTES));
    private static final Outbox TRACES = Settings.TRACES
            ? new Outbox("frontend-traces", new Tracer(Settings.PYTHON, Settings.TRACER)) : null;

    private Records() {}

    /** Whether there is a log or a tracer for them. The first call starts these. */
    static boolean areWanted() {
        return LOG != null || TRACES != null;
    }

    static void add(RequestRecord record) {
        if (LOG != null) {
            LOG.add(record);
        }
        if (TRACES != null && record.isTraced()) {
            TRACES.add(record);
        }
    }
}
