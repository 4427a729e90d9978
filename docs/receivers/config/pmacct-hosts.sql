CREATE TABLE hosts (
    ip_src TEXT NOT NULL,
    ip_dst TEXT NOT NULL,
    ip_proto TEXT NOT NULL,
    packets BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    flows BIGINT NOT NULL,
    stamp_inserted TEXT NOT NULL,
    stamp_updated TEXT,
    PRIMARY KEY (ip_src, ip_dst, ip_proto, stamp_inserted)
);
