//! What happens between the parts of a replay, and what the run comes to then. Start reading at [`CASES`].

use super::cases::{Case, case};

/// The application reads slowly, so that what isn't waited for comes too early.
pub(super) const CASES: &[Case] = &[
    case(
        "a signal comes between two parts",
        "on-hangup bind count 5",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nsignal = \"SIGHUP\"\n[[step]]\nframes = \"21-\"\n[[step]]\nsignal = \"SIGHUP\"\n\
         [[expect.output]]\nfrom = \"stdout\"\nmatches = '\\A(read\\n){20}hup\\n(read\\n){20}hup\\n\\z'\n",
        "pass",
        "40 consumed",
        &["\"what\": \"signal SIGHUP\"", "\"line\": 13,", "\"sent\": 20"],
    ),
    case(
        "a signal comes before the first part, and a command beside the application after it",
        "on-hangup bind append {work}/log count 0",
        "[[step]]\nsignal = \"SIGHUP\"\n[[step]]\nframes = \"1-20\"\n\
         [[step]]\nrun = [\"sh\", \"-c\", \"cat {work}/log; kill -HUP 2\"]\n[[step]]\nwait = \"100ms\"\n[[step]]\nframes = \"21-40\"\n\
         [[expect.output]]\nfrom = \"stdout\"\nmatches = '\\Ahup\\n(read\\n){20}hup\\n(read\\n){20}\\z'\n",
        "pass",
        "40 consumed",
        &[],
    ),
    case(
        "it is started again, and ready again",
        "bind wait 300 append {work}/lives write {work}/ready 1 say up count 2",
        "ready = { output = \"up\", file = \"ready\" }\nexit = 143\n[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n\
         [[step]]\nrun = [\"grep\", \"^xx$\", \"{work}/lives\"]\n[[step]]\nframes = \"21-\"\n\
         [[expect.output]]\nfrom = \"stdout\"\nmatches = '\\Aup(read\\n){20}up(read\\n){20}\\z'\n",
        "pass",
        "40 consumed",
        &["\"ended\": \"signal 15 (SIGTERM)\""],
    ),
    case(
        "what it had for itself is there when it is started again",
        "append /tmp/own append /run/own bind read-on",
        "private = [\"/run\"]\n[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-\"\n\
         [[step]]\nrestart = true\n[[expect.output]]\nfrom = \"/tmp/own\"\nmatches = '\\Axxx\\z'\n\
         [[expect.output]]\nfrom = \"/run/own\"\nmatches = '\\Axxx\\z'\n",
        "pass",
        "40 consumed",
        &[],
    ),
    case(
        "a process is started again, and gets signals",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(on-hangup append {work}/lives say up wait 60000)\nready = { output = \"up\" }\n\
         [[step]]\nsignal = \"SIGHUP\"\nprocess = \"db\"\n[[step]]\nframes = \"1-\"\n[[step]]\nrestart = true\nprocess = \"db\"\n\
         [[step]]\nrun = [\"grep\", \"-a\", \"on-hangup\", \"/proc/2/cmdline\"]\nprocess = \"db\"\n\
         [[expect.output]]\nfrom = \"lives\"\nmatches = '\\Axx\\z'\n\
         [[expect.output]]\nfrom = \"stdout\"\nprocess = \"db\"\nmatches = '\\Auphup\\nup\\z'\n",
        "pass",
        "40 consumed",
        &["\"what\": \"restart db\"", "\"what\": \"signal SIGHUP to db\""],
    ),
    case(
        "a command fails, and nothing is sent after it",
        "bind read-on",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nrun = [\"sh\", \"-c\", \"echo no such zone >&2; exit 3\"]\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "step 2 failed: `sh` ended with exit status 3",
        &[
            "20 sent",
            "it said: no such zone",
            "\"what\": \"step 2\"",
            "step 2 failed, and nothing is sent after that",
            "step 3, line 17: frames 21-: not done",
            "\"result\": \"not done\"",
        ],
    ),
    case(
        "the program of a command is not installed",
        "bind read-on",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nrun = [\"no-such-program\"]\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "step 2 failed: `no-such-program` gave no result",
        &["there is no program `no-such-program` here"],
    ),
    case(
        "it ends otherwise than it must when it is started again",
        "on-stop-exit 3 bind read-on",
        "exit = 0\n[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "step 2 failed: the application ended with exit status 3 after its stop signal, and not with exit status 0",
        &["20 sent", "\"ended\": \"exit status 3\""],
    ),
    case(
        "it crashes when it is stopped to be started again",
        "on-stop-signal 11 bind read-on",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "step 2 failed: the application crashed after its stop signal: signal 11 (SIGSEGV)",
        &[],
    ),
    case(
        "it does not start again",
        "",
        "command = [\"sh\", \"-c\", \"test ! -e again && touch again && exec PROGRAM --application bind read-on\"]\n\
         [[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "step 2 failed: the application ended before it listened: exit status 1",
        &["20 sent", "20 consumed"],
    ),
    case(
        "it is not ready again",
        "",
        "command = [\"sh\", \"-c\", \"test ! -e again || exec sleep 60; touch again; exec PROGRAM --application bind read-on\"]\n\
         ready = { within = \"500ms\" }\n\
         [[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "step 2 failed: the application never listened on `udp:514`",
        &["the limit by `[receiver.ready] within`"],
    ),
    case(
        "it has ended before it gets a signal",
        "bind read 20 say bye exit 0",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nsignal = \"SIGHUP\"\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "the application ended in the middle of the run: exit status 0",
        &["step 2 failed: the application had ended before it could get SIGHUP: exit status 0"],
    ),
    case(
        "it has no handler for a signal",
        "bind read-on",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nsignal = \"SIGHUP\"\n[[step]]\nwait = \"100ms\"\n[[step]]\nframes = \"21-\"\n",
        "fail",
        "the application ended in the middle of the run: signal 1 (SIGHUP)",
        &["step 2 sent it SIGHUP, which ends a program that has no handler for it"],
    ),
    case(
        "what it does not read is not waited for without end",
        "bind read 10 wait 60000",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nrestart = true\n[[step]]\nframes = \"21-30\"\n",
        "fail",
        "10 × SOCKET_CLOSED",
        &["step 2 began while ", "20 consumed", "step 3, line 17: frames 21-30: 10 sent"],
    ),
    case(
        "frames that are in no step are not sent",
        "bind read-on",
        "[[step]]\nframes = \"2-3,7\"\n[[step]]\nwait = \"10ms\"\n[[step]]\nframes = \"9\"\n",
        "pass",
        "4 sent        4 consumed",
        &["36 frames are in no `[[step]]`, and are not sent"],
    ),
    case(
        "a step has frames that are not there",
        "bind read-on",
        "[[step]]\nframes = \"1-3\"\n[[step]]\nframes = \"41-\"\n[[step]]\nframes = \"5000000000-\"\n",
        "invalid",
        "the frames of step 3 do not follow those of the step before",
        &[],
    ),
    case(
        "two steps have frames that are not there",
        "bind read-on",
        "[[step]]\nframes = \"1-3\"\n[[step]]\nframes = \"41-50\"\n[[step]]\nframes = \"60-\"\n",
        "invalid",
        "step 2 sends no frame",
        &["step 3 sends no frame"],
    ),
    case(
        "waiting takes longer than the run may",
        "bind read-on",
        "[[step]]\nframes = \"1-20\"\n[[step]]\nwait = \"100s\"\n[[step]]\nframes = \"21-\"\n",
        "invalid",
        "the timeout of 60 s is shorter than the replay, which takes 1 min 40 s",
        &[],
    ),
];
