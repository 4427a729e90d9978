//! Processes beside the application: what they may do, and what the run comes to then. Start reading at [`CASES`].

use super::cases::{Case, case};

/// `APP(…)` is the application of these tests with these words.
pub(super) const CASES: &[Case] = &[
    case(
        "each process is ready before the next one starts",
        "require {work}/b say main bind read-on",
        "[[receiver.process]]\nname = \"a\"\ncommand = APP(wait 400 write {work}/a 1 wait 60000)\nready = { file = \"a\" }\n\
         [[receiver.process]]\nname = \"b\"\ncommand = APP(require {work}/a wait 400 write {work}/b 1 wait 60000)\n\
         ready = { file = \"b\" }\n",
        "pass",
        "",
        &[],
    ),
    // A shell waits for its child before it runs a trap, so that the sleep of each has to be short.
    case(
        "they are stopped in reverse order, and a command runs before the processes are stopped",
        "bind read-on",
        "command = [\"sh\", \"-c\", \"$0 --application bind read-on & trap 'kill $!; echo main >>stopped; exit 0' TERM; wait\", \"PROGRAM\"]\n\
         exit = 0\n\
         [[receiver.process]]\nname = \"a\"\nexit = 0\nlistens = []\n\
         command = [\"sh\", \"-c\", \"trap 'echo a >>stopped; exit 0' TERM; touch a; while :; do sleep 0.02; done\"]\n\
         ready = { file = \"a\" }\n\
         [[receiver.process]]\nname = \"b\"\nexit = 0\n\
         command = [\"sh\", \"-c\", \"trap 'echo b >>stopped; exit 0' TERM; touch b; while :; do sleep 0.02; done\"]\n\
         ready = { file = \"b\" }\n\
         [[expect.command]]\nrun = [\"cat\", \"{work}/stopped\"]\nstdout = { matches = '\\Amain\\n\\z' }\n\
         [[expect.output]]\nfrom = \"stopped\"\nmatches = '\\Amain\\nb\\na\\n\\z'\n",
        "pass",
        "",
        &[],
    ),
    case(
        "they reach each other",
        "ask {work}/s ask /run/s ask /tmp/s connect 53 require /etc/restage-life bind read-on",
        "private = [\"/run\"]\n\
         [[receiver.process]]\nname = \"server\"\ncommand = APP(serve {work}/s serve /run/s serve /tmp/s listen say up wait 60000)\n\
         listens = [\"tcp:53\"]\nready = { output = \"up\" }\n\
         [receiver.process.files]\n\"/etc/restage-life\" = \"\"\n\
         [[expect.output]]\nfrom = \"stdout\"\ncontains = \"served\"\ncount = 3\n\
         [[expect.command]]\nrun = [\"ls\", \"/run\", \"/tmp\"]\nstdout = { contains = \"s\\n\", count = 2 }\n",
        "pass",
        "",
        &[],
    ),
    case(
        "a process has its own variables and folder, and its output is checked",
        "variable WHO bind read-on",
        "env = { WHO = \"main\" }\n\
         [[receiver.process]]\nname = \"a.b-c\"\ncommand = APP(variable WHO folder wait 60000)\nenv = { WHO = \"beside\" }\n\
         cwd = \"{work}/x\"\nready = { output = \"^folder\" }\n\
         [[expect.output]]\nfrom = \"stdout\"\nmatches = '\\AWHO=main\\n\\z'\n\
         [[expect.output]]\nfrom = \"stdout\"\nprocess = \"a.b-c\"\nmatches = '\\AWHO=beside\\nfolder /.*/work/x\\n\\z'\n\
         [[expect.output]]\nfrom = \"stderr\"\nprocess = \"a.b-c\"\ncontains = \"never\"\n",
        "fail",
        "the standard error of the process `a.b-c` does not contain `never`",
        &["process a.b-c: `", "; its standard output:\n  | WHO=beside\n", "output a.b-c stderr contains"],
    ),
    case(
        "a process reads what is sent",
        "wait 60000",
        "listens = []\n[[receiver.process]]\nname = \"reader\"\ncommand = APP(bind read-on)\nlistens = [\"udp:514\"]\n",
        "pass",
        "40 consumed",
        &[],
    ),
    case(
        "a process that has done its work lets the next one start",
        "require {work}/done bind read-on",
        "[[receiver.process]]\nname = \"init\"\ncommand = APP(wait 400 write {work}/done 1 exit 3)\nready = { exit = 3 }\n",
        "pass",
        "",
        &["exit status 3"],
    ),
    case(
        "a process fails at its work",
        "bind read-on",
        "[[receiver.process]]\nname = \"init\"\ncommand = APP(say no_room exit 1)\nready = { exit = 0 }\n",
        "blocked",
        "the process `init` ended before it was ready: exit status 1",
        &["it said: no room"],
    ),
    case(
        "a process never ends its work",
        "bind read-on",
        "[[receiver.process]]\nname = \"init\"\ncommand = APP(wait 60000)\nready = { exit = 0, within = \"300ms\" }\n",
        "blocked",
        "the process `init` did not end",
        &["the limit by `[receiver.process.ready] within`"],
    ),
    case(
        "a process never listens, and the application is not started",
        "write {work}/started 1 bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(wait 60000)\nlistens = [\"tcp:5432\"]\nready = { within = \"300ms\" }\n",
        "blocked",
        "the process `db` never listened on `tcp:5432`",
        &["all of them together have bound no socket", "`[receiver.process] listens"],
    ),
    case(
        "a process ends before it is ready",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(say no_such_folder exit 1)\nlistens = [\"tcp:5432\"]\n",
        "blocked",
        "the process `db` ended before it listened: exit status 1",
        &["it said: no such folder"],
    ),
    case(
        "a process that should stay ends with status 0 before it is ready",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(exit 0)\nready = { file = \"never\" }\n",
        "blocked",
        "the process `db` ended before it was ready: exit status 0",
        &["`ready = { exit = 0 }`"],
    ),
    case(
        "a process ends while the application starts",
        "wait 60000",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(wait 200 say out_of_memory exit 2)\n\
         [[receiver.process]]\nname = \"other\"\ncommand = APP(wait 60000)\n",
        "blocked",
        "the process `db` ended before the application was ready: exit status 2",
        &["it said: out of memory"],
    ),
    case(
        "a process ends in the middle",
        "bind read-on",
        "settle = \"600ms\"\n[[receiver.process]]\nname = \"db\"\ncommand = APP(wait 500 say bye exit 0)\n",
        "fail",
        "the process `db` ended in the middle of the run: exit status 0",
        &["it said: bye", "\"what\": \"process db\"", "40 consumed"],
    ),
    case(
        "a process crashes at the stop",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(on-stop-signal 11 say up wait 60000)\nready = { output = \"up\" }\n",
        "fail",
        "the process `db` crashed after its stop signal: signal 11 (SIGSEGV)",
        &[],
    ),
    case(
        "a process ends otherwise than it must",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(on-stop-exit 1 say up wait 60000)\nready = { output = \"up\" }\nexit = 0\n",
        "fail",
        "the process `db` ended with exit status 1 after its stop signal, and not with exit status 0",
        &[],
    ),
    case(
        "a process does not end",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; touch up; while :; do sleep 0.02; done\"]\n\
         ready = { file = \"up\" }\n",
        "fail",
        "the process `db` did not end within 5 s of its stop signal, and was killed",
        &["`[receiver.process] stop = \\\"SIGINT\\\"`"],
    ),
    case(
        "a process goes into the background",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(background listen wait 60000)\nlistens = [\"tcp:53\"]\n",
        "pass",
        "",
        &["the process `db` went into the background"],
    ),
    case(
        "a process writes without end",
        "bind read-on",
        "limits = { work = \"3 MiB\" }\nsettle = \"3s\"\n\
         [[receiver.process]]\nname = \"db\"\ncommand = APP(say up wait 1000 fill {work}/full)\nready = { output = \"up\" }\n",
        "fail",
        "was killed: more than 3 MiB were written into `{work}`",
        &["the process `db` was killed", "the application was killed"],
    ),
    case(
        "a process prints more than is kept",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(print 100000 say up wait 60000)\nready = { output = \"y\" }\nlimits = { output = \"1 kB\" }\n\
         [[expect.output]]\nfrom = \"stderr\"\nlines = 0\n",
        "pass",
        "",
        &["of the output of the process `db` were discarded", "`[receiver.process] limits`"],
    ),
    case(
        "the program of a process is not installed",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = [\"no-such-database\"]\n",
        "blocked",
        "there is no program `no-such-database` here",
        &[],
    ),
    case(
        "the account of a process is missing",
        "bind read-on",
        "[[receiver.process]]\nname = \"db\"\ncommand = APP(wait 60000)\nuser = \"no-such-account\"\n",
        "blocked",
        "there is no account `no-such-account` here",
        &["the process `db` runs as it"],
    ),
    case(
        "all are to be ready in time",
        "bind read-on",
        "ready = { within = \"31s\" }\n\
         [[receiver.process]]\nname = \"db\"\ncommand = APP(wait 60000)\nready = { within = \"30s\" }\n",
        "invalid",
        "the timeout of 60 s is shorter than what the application may take to be ready, 61 s",
        &[],
    ),
];
