{
  address: "0.0.0.0",
  port: 8125,
  mgmt_address: "127.0.0.1",
  mgmt_port: 8126,
  flushInterval: 10000,
  percentThreshold: [90],
  deleteIdleStats: true,
  backends: ["./backends/console"],
  console: { prettyprint: false }
}
