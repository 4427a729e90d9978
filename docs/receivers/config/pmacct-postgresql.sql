CREATE DATABASE pmacct;
\connect pmacct
CREATE TABLE hosts (
    ip_src INET NOT NULL,
    ip_dst INET NOT NULL,
    ip_proto SMALLINT NOT NULL,
    packets BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    flows BIGINT NOT NULL,
    stamp_inserted TIMESTAMP NOT NULL,
    stamp_updated TIMESTAMP,
    PRIMARY KEY (ip_src, ip_dst, ip_proto, stamp_inserted)
);
