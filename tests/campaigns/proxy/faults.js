// What nginx does to each piece of data that passes through the port `server_port`. The file faults.json,
// beside the configuration, names the fault of each port; it is read for each piece.

import fs from 'fs';

// Milliseconds that a piece is late, always or at most.
const LATENCY = 300;
const JITTER = 3000;
// The share of pieces at which the connection breaks.
const BREAKS = 0.1;
// At 1 kB/s a byte takes a millisecond; it passes in slices of so many bytes.
const SLICE = 100;

// Return when a slice is through that comes at `now`; the one before it is at `free`, and none overtakes it.
function passes(fault, bytes, now, free) {
    switch (fault) {
    case 'latency':
        return Math.max(free, now + LATENCY);
    case 'jitter':
        return Math.max(free, now + Math.random() * JITTER);
    case '1 kB/s':
        return Math.max(free, now) + bytes;
    default:
        return Math.max(free, now);
    }
}

function filter(s) {
    let lost = false;

    function pump(send) {
        const waiting = [];
        let free = 0;

        return (data, flags) => {
            const faults = JSON.parse(fs.readFileSync(ngx.conf_prefix + 'faults.json'));
            const fault = faults[s.variables.server_port];
            lost = lost || fault === 'half-open';
            if (lost) {
                // Neither end hears of it, or from the other again; only an end that leaves lets go of both.
                send.call(s, '', flags);
                return;
            }
            if (fault === 'resets' && Math.random() < BREAKS) {
                // What nginx has not read by then makes its kernel send a reset.
                throw new Error('reset');
            }
            const now = Date.now();
            const size = fault === '1 kB/s' ? SLICE : Math.max(1, data.length);
            for (let start = 0; start === 0 || start < data.length; start += size) {
                const slice = data.slice(start, start + size);
                const last = flags.last && start + size >= data.length;
                free = passes(fault, slice.length, now, free);
                waiting.push([slice, {last: last, flush: true}]);
                if (free > now || waiting.length > 1) {
                    // Timers of one millisecond fire in any order, so each sends the first that waits.
                    setTimeout(() => send.apply(s, waiting.shift()), Math.max(0, free - now));
                } else {
                    send.apply(s, waiting.shift());
                }
            }
        };
    }

    s.on('upstream', pump(s.sendUpstream));
    s.on('downstream', pump(s.sendDownstream));
}

export default {filter};
