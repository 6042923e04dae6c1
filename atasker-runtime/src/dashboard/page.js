// The page shows what `api/state`, `api/events` and `api/history` say. Everything that comes from
// the program is shown as text.
'use strict';
(() => {
  // The page may be at `/tasks` or at `/tasks/`, also behind a proxy.
  const BASE = location.pathname.replace(/\/?$/, '/');
  const MAY_WRITE = document.body.dataset.access === 'full';
  const HAS_TOKEN = document.body.dataset.session === 'token';
  const ROWS = 20; // Rows of a table, before it is asked for more.
  const POINTS = 900; // Points of a plot, one per second.
  const FEW_POINTS = 60; // The shortest time that a plot shows.
  const SILENCE = 20e3; // Without an event for this long, the connection is lost.
  const PRIORITIES = ['critical', 'high', 'normal', 'low'];
  const PLACES = ['thread', 'mp', 'async', 'remote'];

  const byId = (id) => document.getElementById(id);
  let state = { supervisors: [], clusters: [] };
  const sections = new Map(); // By the key of the supervisor.
  const clusters = new Map(); // By the key of the cluster.

  // ---- elements ----

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function svg(name, attributes) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    return made;
  }

  function setText(of, text) {
    if (of.textContent !== text) of.textContent = text;
  }

  // A name may break after `::`, `/` and `_`.
  function setName(of, name) {
    if (of.textContent === name) return;
    of.replaceChildren(...name.split(/(?<=::|[/_])/).flatMap((part) => [part, element('wbr')]));
  }

  // ---- numbers and times ----

  const count = (n) => n.toLocaleString('en');
  const plural = (n, one) => `${count(n)} ${one}${n === 1 ? '' : 's'}`;

  function duration(seconds) {
    if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return '';
    if (seconds < 0.0995) {
      const millis = seconds * 1e3;
      return millis < 0.95 ? `${Math.round(millis * 1e3)} µs` : `${Math.round(millis)} ms`;
    }
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
    return `${Math.floor(whole / 86400)} d ${Math.floor(whole / 3600) % 24} h`;
  }

  function bytes(n) {
    if (n === null) return '';
    const mega = n / (1 << 20);
    return mega < 1024 ? `${mega.toFixed(mega < 10 ? 1 : 0)} MiB` : `${(mega / 1024).toFixed(1)} GiB`;
  }

  let ahead = 0; // How far the clock of the program is ahead of this one, in milliseconds.
  const now = () => Date.now() + ahead;
  const since = (time) => (time ? Math.max(0, (now() - Date.parse(time)) / 1e3) : null);
  const ago = (time) => (time ? `${duration(Math.floor(since(time)))} ago` : '');
  const clock = (time) => new Date(time).toLocaleTimeString();

  function until(time) {
    if (!time) return '';
    const seconds = (Date.parse(time) - now()) / 1e3;
    return seconds < 1 ? 'now' : `in ${duration(Math.round(seconds))}`;
  }

  // ---- actions ----

  function complain(text) {
    const close = element('button', { type: 'button' }, 'Dismiss');
    const alert = element('div', { role: 'alert' }, element('span', {}, text), close);
    close.onclick = () => alert.remove();
    byId('alerts').replaceChildren(alert);
  }

  async function act(path, words) {
    try {
      const answer = await fetch(BASE + path, { method: 'POST', headers: { 'x-atasker': '1' } });
      if (answer.ok) return byId('alerts').replaceChildren();
      if (answer.status === 401) return location.reload();
      const { error } = await answer.json();
      complain(`${words}: ${error}`);
    } catch {
      complain(`${words}: the program did not answer`);
    }
  }

  // Buttons for the verbs that are possible. A button stays the same while its verb is possible, so
  // that it keeps the focus.
  function buttons(cell, verbs, path, name) {
    if (!MAY_WRITE) return;
    const wanted = verbs.join();
    if (cell.dataset.verbs === wanted) return;
    cell.dataset.verbs = wanted;
    const present = new Map([...cell.children].map((button) => [button.dataset.verb, button]));
    const made = verbs.map((verb) => {
      const words = verb[0].toUpperCase() + verb.slice(1);
      const label = `${words} ${name}`;
      const attributes = { type: 'button', 'aria-label': label, 'data-verb': verb };
      const button = present.get(verb) || element('button', attributes, words);
      button.onclick = () => act(`${path}/${verb}`, label);
      return button;
    });
    const focused = document.activeElement;
    cell.replaceChildren(...made);
    if (made.includes(focused)) focused.focus();
  }

  // ---- tables ----

  // A column: its title, its class, the value that it is sorted by, and how a cell shows a row.
  // Without `show`, a cell shows the value.
  const column = (title, style, sort, show) => ({ title, style, sort, show });
  const rank = (task) => PRIORITIES.length - PRIORITIES.indexOf(task.priority);
  const kind = column('Kind', 'wide', (task) => task.tt);
  const priority = column('Priority', 'wide', rank, (cell, task) => setText(cell, task.priority));

  function named(details) {
    return column('Name', 'name', (row) => row.name, (cell, row) => {
      if (!cell.firstChild) cell.append(element('span'), element('span', { class: 'sub' }));
      setName(cell.firstChild, row.name);
      setText(cell.lastChild, details(row).filter(Boolean).join(' · '));
      const id = row.id || '';
      if (id && cell.title !== id) cell.title = id;
    });
  }

  function progressText({ progress: known }) {
    if (!known) return '';
    const done = known.total ? `${count(known.done)}/${count(known.total)}` : known.done && count(known.done);
    return [done, known.message].filter(Boolean).join(' ');
  }

  function progress(cell, task) {
    const known = task.progress;
    if (!known) return cell.replaceChildren();
    if (!cell.firstChild) {
      const label = `Progress of ${task.name}`;
      cell.append(element('progress', { class: 'progress', 'aria-label': label }), element('span'));
    }
    const [bar, text] = cell.children;
    bar.hidden = !known.total;
    if (known.total) {
      bar.max = known.total;
      bar.value = known.done;
    }
    setText(text, progressText(task));
  }

  function fullError(cell, failure) {
    if (cell.firstChild) return;
    const text = failure.error;
    const first = text.split('\n', 1)[0];
    if (first === text && text.length <= 200) return cell.append(text);
    const short = first.length <= 200 ? first : `${first.slice(0, 200)}…`;
    cell.append(element('details', {}, element('summary', {}, short), element('pre', {}, text)));
  }

  const percent = (task) => (task.progress && task.progress.total ? task.progress.done / task.progress.total : -1);
  const brief = (task) => [task.tt, task.priority, task.node && `node ${task.node}`, task.worker_pid && `process ${task.worker_pid}`];
  const attempt = (task) => (task.attempt > 1 ? `attempt ${task.attempt}` : '');

  const TABLES = {
    Running: {
      key: (task) => task.id,
      order: { at: 5, down: true },
      columns: [
        named((task) => [...brief(task), attempt(task), progressText(task)]),
        kind,
        priority,
        column('Attempt', 'number wide', (task) => task.attempt),
        column('Progress', 'text wide', percent, progress),
        column('Age', 'number', (task) => since(task.time_started), (cell, task) => setText(cell, duration(since(task.time_started)))),
        column('', 'actions', null, (cell, task) =>
          buttons(cell, task.tt === 'thread' ? ['stop'] : ['stop', 'kill'], `api/tasks/${task.id}`, task.name)),
      ],
    },
    Waiting: {
      key: (task) => task.id,
      columns: [
        named((task) => [...brief(task), task.status]),
        kind,
        priority,
        column('Status', 'wide', (task) => task.status, (cell, task) =>
          setText(cell, [task.status, attempt(task)].filter(Boolean).join(', '))),
        column('Age', 'number', (task) => since(task.time_queued), (cell, task) => setText(cell, duration(since(task.time_queued)))),
        column('', 'actions', null, (cell, task) => buttons(cell, ['cancel'], `api/tasks/${task.id}`, task.name)),
      ],
    },
    Failures: {
      key: (failure) => `${failure.id} ${failure.time}`,
      order: { at: 0, down: true },
      columns: [
        column('Time', 'time wide', (failure) => Date.parse(failure.time), (cell, failure) => {
          setText(cell, clock(failure.time));
          cell.title = failure.time;
        }),
        named((failure) => [clock(failure.time), ...brief(failure)]),
        kind,
        column('Attempt', 'number wide', (failure) => failure.attempt),
        column('Error', 'text', (failure) => failure.error, fullError),
      ],
    },
    'Worker processes': {
      key: (process) => `${process.pid} ${process.number}`,
      unfiltered: true,
      order: { at: 0, down: false },
      columns: [
        column('Number', 'number wide', (process) => process.number),
        column('Process', 'number', (process) => process.pid),
        column('Memory', 'number', (process) => process.rss_bytes, (cell, process) => setText(cell, bytes(process.rss_bytes))),
        column('CPU', 'number', (process) => process.cpu_percent, (cell, process) =>
          setText(cell, process.cpu_percent === null ? '' : `${process.cpu_percent.toFixed(0)} %`)),
        column('Tasks run', 'number', (process) => process.tasks_run, (cell, process) => setText(cell, count(process.tasks_run))),
        column('Task', 'text wide', (process) => process.taskName || ''),
      ],
    },
    Background: {
      key: (worker) => worker.key,
      columns: [
        named((worker) => [worker.kind, plural(worker.runs, 'run'), worker.errors && plural(worker.errors, 'error')]),
        column('Kind', 'wide', (worker) => worker.kind),
        column('State', 'wide', (worker) => (worker.running ? 'running' : worker.active === false ? 'stopped' : 'active')),
        column('Runs', 'number wide', (worker) => worker.runs, (cell, worker) => setText(cell, count(worker.runs))),
        column('Errors', 'number wide', (worker) => worker.errors, (cell, worker) => setText(cell, count(worker.errors))),
        column('Last run', 'number', (worker) => worker.last_executed || '', (cell, worker) => setText(cell, ago(worker.last_executed))),
        column('Next run', 'number', (worker) => worker.next || '', (cell, worker) => setText(cell, until(worker.next))),
        column('Lateness', 'number wide', (worker) => worker.lateness, (cell, worker) => setText(cell, duration(worker.lateness))),
        column('Items', 'number wide', (worker) => worker.waiting ?? -1, (cell, worker) => setText(cell, worker.waiting === null || worker.waiting === undefined ? '' : count(worker.waiting))),
        column('', 'actions', null, (cell, worker) => buttons(cell, worker.can, `api/background/${worker.key}`, worker.name)),
      ],
    },
  };

  const waiting = (queue) => PRIORITIES.reduce((total, priority) => total + queue.waiting[priority], 0);
  const slots = (node) => node.slots && node.slots + node.reserve_normal + node.reserve_high;

  const CLUSTER_TABLES = {
    Nodes: {
      key: (node) => node.id,
      unfiltered: true,
      order: { at: 0, down: false },
      columns: [
        named((node) => [node.host, `process ${node.pid}`, node.queues.join(', '), node.draining && 'draining']),
        column('Host', 'wide', (node) => node.host),
        column('Process', 'number wide', (node) => node.pid),
        column('Queues', 'text wide', (node) => node.queues.join(', ')),
        column('State', 'wide', (node) => (node.draining ? 'draining' : 'serving')),
        column('Running', 'number', (node) => node.running, (cell, node) =>
          setText(cell, slots(node) ? `${count(node.running)} of ${count(slots(node))}` : count(node.running))),
        column('Functions', 'number wide', (node) => node.functions.length, (cell, node) => {
          setText(cell, count(node.functions.length));
          cell.title = node.functions.join('\n');
        }),
        column('Heard of', 'number', (node) => node.heard_of, (cell, node) => setText(cell, node.heard_of < 1 ? 'now' : `${duration(Math.floor(node.heard_of))} ago`)),
      ],
    },
    Queues: {
      key: (queue) => queue.name,
      unfiltered: true,
      order: { at: 0, down: false },
      columns: [
        named((queue) => PRIORITIES.map((priority) => queue.waiting[priority] && `${count(queue.waiting[priority])} ${priority}`)),
        ...PRIORITIES.map((priority) => column(`${priority[0].toUpperCase()}${priority.slice(1)}`, 'number wide', (queue) => queue.waiting[priority], (cell, queue) =>
          setText(cell, count(queue.waiting[priority])))),
        column('Waiting', 'number', waiting, (cell, queue) => setText(cell, count(waiting(queue)))),
        column('Given out', 'number', (queue) => queue.given_out, (cell, queue) => setText(cell, count(queue.given_out))),
      ],
    },
    'Dead letters': {
      key: (letter) => letter.id,
      order: { at: 0, down: true },
      columns: [
        column('Time', 'time wide', (letter) => Date.parse(letter.time), (cell, letter) => {
          setText(cell, clock(letter.time));
          cell.title = letter.time;
        }),
        named((letter) => [clock(letter.time)]),
        column('Error', 'text', (letter) => letter.error, fullError),
        column('', 'actions', null, (cell, letter) =>
          buttons(cell, ['retry', 'drop'], `api/clusters/${letter.cluster}/dead/${letter.id}`, letter.name)),
      ],
    },
  };

  const compare = (a, b) => (typeof a === 'string' ? a.localeCompare(b) : (a ?? -1) - (b ?? -1));

  function makeTable(title, { key, columns, order: initial, unfiltered }) {
    let order = initial || null;
    let all = false;
    let latest = [[], '', 0];
    const rows = new Map();
    const body = element('tbody');
    const headers = columns.map(({ title, style, sort }, at) => {
      const header = element('th', { scope: 'col', class: style });
      if (!sort) {
        header.setAttribute('aria-label', 'Actions');
        return header;
      }
      const button = element('button', { type: 'button' }, title);
      button.onclick = () => {
        order = { at, down: order && order.at === at ? !order.down : /number/.test(style) };
        update(...latest);
      };
      header.append(button);
      return header;
    });
    const table = element('table', {}, element('caption', {}, title), element('thead', {}, element('tr', {}, ...headers)), body);
    const note = element('p', { class: 'note' });
    const more = element('button', { type: 'button', class: 'more' });
    more.onclick = () => {
      all = !all;
      update(...latest);
    };
    const panel = element('div', { class: 'panel' }, note, table, more);

    function makeRow() {
      return element('tr', {}, ...columns.map(({ style }) => element('td', { class: style })));
    }

    function update(items, text, total) {
      latest = [items, text, total];
      const wanted = byId('filter').value.trim().toLowerCase();
      let shown = items;
      if (wanted && !unfiltered) shown = shown.filter((item) => item.name.toLowerCase().includes(wanted));
      if (order) {
        const { sort } = columns[order.at];
        const sign = order.down ? -1 : 1;
        shown = shown.map((item) => [sort(item), item]);
        shown.sort((a, b) => sign * compare(a[0], b[0]));
        shown = shown.map(([, item]) => item);
      }
      headers.forEach((header, at) => {
        if (!columns[at].sort) return;
        const sorted = order && order.at === at ? (order.down ? 'descending' : 'ascending') : 'none';
        if (header.getAttribute('aria-sort') !== sorted) header.setAttribute('aria-sort', sorted);
      });
      const found = shown.length;
      if (!all) shown = shown.slice(0, ROWS);
      const present = new Set(shown.map((item) => String(key(item))));
      for (const [of, row] of rows) {
        if (present.has(of)) continue;
        row.remove();
        rows.delete(of);
      }
      // Rows move only where the order has changed, because a row that moves loses the focus.
      let at = body.firstElementChild;
      for (const item of shown) {
        const of = String(key(item));
        let row = rows.get(of);
        if (!row) rows.set(of, (row = makeRow()));
        columns.forEach(({ sort, show }, number) => {
          const cell = row.children[number];
          if (show) show(cell, item);
          else setText(cell, String(sort(item)));
        });
        if (row === at) {
          at = at.nextElementSibling;
        } else {
          const focused = row.contains(document.activeElement) ? document.activeElement : null;
          body.insertBefore(row, at);
          if (focused) focused.focus();
        }
      }
      const hidden = wanted && !unfiltered && items.length ? `${count(found)} of ${count(items.length)} match` : '';
      const cut = total > items.length ? `first ${count(items.length)} listed` : '';
      setText(note, [text, cut, hidden].filter(Boolean).join(' · '));
      more.hidden = found <= ROWS;
      setText(more, all ? `Show ${ROWS}` : `Show all ${count(found)}`);
      table.classList.toggle('vacant', !items.length);
    }

    return { panel, update };
  }

  const makeTables = (of) => Object.entries(of).map(([title, table]) => [title, makeTable(title, table)]);

  // ---- pools ----

  function makePool(name, style) {
    const meter = element('meter', { min: 0, 'aria-label': name });
    const zones = [element('i'), element('i'), element('i')];
    const fill = element('b');
    const state = element('span');
    const title = element('h3', {}, style === 'mp' ? 'Processes' : 'Threads', state);
    const slots = element('p', { class: 'note' });
    const ends = element('p', { class: 'note' });
    const queues = element('dl', { class: 'queues' });
    const bars = PRIORITIES.map((priority) => {
      const bar = element('i');
      const number = element('dd');
      queues.append(element('dt', {}, priority), element('span', { 'aria-hidden': 'true' }, bar), number);
      return { priority, bar, number };
    });
    const card = element('div', { class: `card ${style}` }, title, element('div', { class: 'bar' }, ...zones, fill, meter), slots, queues, ends);

    function update(pool, detail) {
      const sizes = [pool.pool_size, pool.reserve_normal, pool.reserve_high];
      const limited = pool.pool_size > 0;
      const total = limited ? sizes.reduce((a, b) => a + b) : Math.max(1, pool.running);
      meter.max = total;
      meter.value = pool.running;
      meter.setAttribute('aria-valuenow', pool.running);
      meter.setAttribute('aria-valuemax', total);
      zones.forEach((zone, at) => {
        zone.style.flexGrow = limited ? sizes[at] : at === 0 ? 1 : 0;
        zone.hidden = !limited ? at > 0 : !sizes[at];
      });
      fill.style.width = `${Math.min(100, (100 * pool.running) / total)}%`;
      setText(state, limited ? `${count(pool.running)} of ${plural(total, 'slot')}` : `${count(pool.running)} running, no limit`);
      const reserves = [
        pool.reserve_normal && `${count(pool.reserve_normal)} reserved for normal`,
        pool.reserve_high && `${count(pool.reserve_high)} reserved for high`,
        pool.running_critical && `plus ${count(pool.running_critical)} critical`,
        ...detail,
      ];
      setText(slots, reserves.filter(Boolean).join(' · '));
      const most = Math.max(1, ...PRIORITIES.map((of) => pool.waiting[of]));
      for (const { priority, bar, number } of bars) {
        bar.style.width = `${(100 * pool.waiting[priority]) / most}%`;
        setText(number, count(pool.waiting[priority]));
      }
      setText(ends, ended(pool));
    }

    return { card, update };
  }

  function ended(of) {
    const parts = [`${count(of.completed)} completed`];
    for (const [field, word] of [['failed', 'failed'], ['timed_out', 'timed out'], ['canceled', 'canceled']]) {
      if (of[field]) parts.push(`${count(of[field])} ${word}`);
    }
    return parts.join(' · ');
  }

  // ---- plots ----

  const sum = (lists) => lists[0].map((_, at) => lists.reduce((total, list) => total + list[at], 0));
  const failed = ({ returned_err, panicked, timed_out, worker_died, expired, other }) =>
    sum([returned_err, panicked, timed_out, worker_died, expired, other]);
  const rate = (n) => `${count(Math.round(n))}/s`;

  const PLOTS = [
    { title: 'Ended per second', of: (place) => sum(Object.values(place.completed)), show: rate, settled: true },
    { title: 'Failed per second', of: (place) => failed(place.completed), show: rate, settled: true },
    { title: 'Waiting', of: (place) => sum(Object.values(place.waiting)), show: count },
    { title: 'Running', of: (place) => place.running, show: count },
    { title: 'Queue time, p95', of: (place) => place.queue.p95, show: duration, settled: true },
    { title: 'Run time, p95', of: (place) => place.run.p95, show: duration, settled: true },
  ];

  let origin = null; // The time of the first point, in milliseconds.
  let length = 0;
  const points = new Map(); // By the key of the supervisor: a list per plot and place.

  // Adds points. Returns false if some are missing in between.
  function addPoints(history) {
    const start = Date.parse(history.start);
    if (origin === null) origin = start;
    const offset = Math.round((start - origin) / 1e3);
    if (offset < 0 || offset > length) return false;
    let longest = 0;
    for (const { key, places } of history.supervisors) {
      if (!points.has(key)) points.set(key, PLOTS.map(() => Object.fromEntries(PLACES.map((place) => [place, []]))));
      points.get(key).forEach((plot, number) => {
        for (const place of PLACES) {
          if (!places[place]) continue;
          const added = PLOTS[number].of(places[place]);
          const list = plot[place];
          while (list.length < offset) list.push(0);
          added.forEach((value, at) => { list[offset + at] = value; });
          longest = added.length;
        }
      });
    }
    length = Math.max(length, offset + longest);
    const over = Math.max(0, length - POINTS);
    origin += over * 1e3;
    length -= over;
    for (const [key, plots] of points) {
      if (!history.supervisors.some((supervisor) => supervisor.key === key)) points.delete(key);
      else for (const plot of plots) for (const place of PLACES) plot[place].splice(0, plot[place].length - length);
    }
    // The last point is the current second.
    const program = start + longest * 1e3 - 500;
    ahead = Math.abs(program - Date.now()) > 2e3 ? program - Date.now() : 0;
    return true;
  }

  async function loadHistory(last) {
    try {
      const answer = await fetch(`${BASE}api/history${last ? `?last=${last}` : ''}`);
      if (!answer.ok) return;
      const history = await answer.json();
      if (!last) {
        origin = null;
        length = 0;
        points.clear();
      }
      if (!addPoints(history) && last) await loadHistory(0);
    } catch {
      // The events tell that the connection is lost.
    }
  }

  function makePlots() {
    const grid = element('div', { class: 'plots' });
    const plots = PLOTS.map(({ title, show, settled }, number) => {
      const legend = element('span');
      const labels = PLACES.map((place) => element('b', { class: place }));
      labels.forEach((label) => legend.append(label, ' '));
      const picture = svg('svg', { viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': title });
      const lines = PLACES.map((place) => svg('path', { class: place }));
      picture.append(svg('line', { x1: 0, y1: 99.5, x2: 1000, y2: 99.5 }), ...lines);
      const first = element('span');
      const most = element('span');
      const axis = element('div', { class: 'axis', 'aria-hidden': 'true' }, first, most, element('span', {}, 'now'));
      grid.append(element('figure', {}, element('figcaption', {}, title, legend), picture, axis));
      return (lists) => {
        // The current second is not over, so its counts are too small.
        const cut = settled ? 1 : 0;
        const shown = Math.max(FEW_POINTS, length);
        setText(first, `${duration(shown)} ago`.replace(' 0 s', ''));
        const used = PLACES.map((place) => lists[number][place].some(Boolean));
        const top = Math.max(0, ...PLACES.flatMap((place, at) => (used[at] ? [largest(lists[number][place], cut)] : [])));
        PLACES.forEach((place, at) => {
          const list = lists[number][place];
          const last = list.length - 1 - cut;
          lines[at].setAttribute('d', used[at] ? trace(list, last, top, shown) : '');
          const value = list[last];
          setText(labels[at], used[at] ? `${place} ${value === null || value === undefined ? '–' : show(value)}` : '');
        });
        setText(most, top ? `max ${show(top)}` : '');
      };
    });
    return { grid, update: (lists) => plots.forEach((plot) => plot(lists)) };
  }

  const largest = (list, cut) => list.reduce((most, value, at) => (at < list.length - cut && value > most ? value : most), 0);

  // The path of a line. A gap is where nothing was measured.
  function trace(list, last, top, shown) {
    const step = 1000 / shown;
    let path = '';
    let drawn = false;
    for (let at = 0; at <= last; at++) {
      const value = list[at];
      if (value === null || value === undefined) {
        drawn = false;
        continue;
      }
      const x = (1000 - step * (last - at)).toFixed(1);
      const y = (99 - (top ? (94 * value) / top : 0)).toFixed(1);
      // A single value would be no line.
      path += drawn ? `L${x} ${y}` : `M${x} ${y}h.1`;
      drawn = true;
    }
    return path;
  }

  // ---- supervisors ----

  function makeSection(id) {
    const note = element('span', { class: 'note' });
    const heading = element('h2', {}, id);
    const threads = makePool(`${id} threads`, 'thread');
    const processes = makePool(`${id} processes`, 'mp');
    const aloops = element('div', { class: 'card async', hidden: '' }, element('h3', {}, 'Aloops'));
    const loops = new Map();
    const cards = element('div', { class: 'cards' }, threads.card, processes.card, aloops);
    const plots = makePlots();
    const tables = makeTables(TABLES);
    const section = element('section', {}, heading, note, cards, plots.grid, ...tables.map(([, table]) => table.panel));
    note.hidden = true;

    function showLoops(list) {
      aloops.hidden = !list.length;
      const present = new Set(list.map((aloop) => aloop.name));
      for (const [name, text] of loops) {
        if (!present.has(name)) {
          text.remove();
          loops.delete(name);
        }
      }
      for (const aloop of list) {
        if (!loops.has(aloop.name)) {
          const text = element('p', { class: 'note' });
          loops.set(aloop.name, text);
          aloops.append(text);
        }
        setText(loops.get(aloop.name), `${aloop.name}: ${count(aloop.running)} running · ${ended(aloop)}`);
      }
    }

    function update(supervisor) {
      const { info } = supervisor;
      note.hidden = info.active;
      setText(note, info.active ? '' : 'Not active: it starts at its next launch, or was stopped.');
      const pool = info.thread_pool;
      threads.update(pool, [
        plural(pool.threads, 'thread'),
        pool.blocked && `${count(pool.blocked)} blocked in waits`,
        pool.overstayed.length && `${count(pool.overstayed.length)} overdue`,
      ]);
      processes.card.hidden = !info.mp_pool;
      const restarts = info.mp_pool ? info.mp_pool.restarts : 0;
      if (info.mp_pool) {
        processes.update(info.mp_pool, [plural(info.mp_pool.workers.length, 'worker process').replace('processs', 'processes'), plural(restarts, 'restart')]);
      }
      showLoops(info.aloops);
      const names = new Map(supervisor.running.map((task) => [task.id, task.name]));
      const workers = supervisor.processes.map((process) => ({ ...process, taskName: names.get(process.task) || process.task || '' }));
      const contents = {
        Running: [supervisor.running, count(supervisor.running_total), supervisor.running_total],
        Waiting: [supervisor.waiting, count(supervisor.waiting_total), supervisor.waiting_total],
        Failures: [supervisor.failures, supervisor.failures.length ? `last ${count(supervisor.failures.length)}` : 'none', 0],
        'Worker processes': [workers, plural(restarts, 'restart'), 0],
        Background: [supervisor.background, count(supervisor.background.length), 0],
      };
      for (const [title, table] of tables) table.update(...contents[title]);
      const lists = points.get(supervisor.key);
      if (lists) plots.update(lists);
      plots.grid.hidden = !info.active && !(lists && lists.some((plot) => PLACES.some((place) => plot[place].some(Boolean))));
    }

    return { section, update };
  }

  // ---- clusters ----

  function makeCluster(namespace) {
    const note = element('span', { class: 'note' });
    const problem = element('p', { class: 'problem' });
    const tables = makeTables(CLUSTER_TABLES);
    const heading = element('h2', {}, `Cluster ${namespace}`);
    const section = element('section', {}, heading, note, problem, ...tables.map(([, table]) => table.panel));

    function update(cluster) {
      setText(note, [cluster.broker, plural(cluster.nodes.length, 'node'), plural(cluster.dead_letters_total, 'dead letter')].filter(Boolean).join(' · '));
      const lost = cluster.connected ? cluster.error : `Not connected. ${cluster.error || ''}`;
      setText(problem, lost ? `${lost.trim()} What is shown may be old.` : '');
      const letters = cluster.dead_letters.map((letter) => ({ ...letter, cluster: cluster.key }));
      const contents = {
        Nodes: [cluster.nodes, count(cluster.nodes.length), 0],
        Queues: [cluster.queues, count(cluster.queues.length), 0],
        'Dead letters': [letters, count(cluster.dead_letters_total), cluster.dead_letters_total],
      };
      for (const [title, table] of tables) table.update(...contents[title]);
    }

    return { section, update };
  }

  // Shows one section for each thing, before `end`, or last.
  function renderAll(made, things, make, end) {
    const present = new Set(things.map(({ key }) => key));
    for (const [key, { section }] of made) {
      if (!present.has(key)) {
        section.remove();
        made.delete(key);
      }
    }
    for (const thing of things) {
      if (!made.has(thing.key)) {
        const one = make(thing);
        made.set(thing.key, one);
        byId('main').insertBefore(one.section, end);
      }
      made.get(thing.key).update(thing);
    }
  }

  let rendered = 0;
  function render() {
    rendered = Date.now();
    renderAll(sections, state.supervisors, ({ info }) => makeSection(info.id), byId('clusters'));
    renderAll(clusters, state.clusters, ({ namespace }) => makeCluster(namespace), null);
    byId('empty').hidden = !connected || state.supervisors.length > 0;
  }

  // ---- connection ----

  let connected = false;
  let source = null;
  let heard = 0;

  function show(now) {
    connected = now;
    setText(byId('status'), now ? 'Connected' : 'Connection lost');
    byId('status').className = now ? 'connected' : 'lost';
    document.body.classList.toggle('stale', !now);
  }

  function connect() {
    source = new EventSource(`${BASE}api/events`);
    heard = Date.now();
    source.addEventListener('state', (event) => {
      heard = Date.now();
      state = JSON.parse(event.data);
      if (!connected) {
        show(true);
        loadHistory(0).then(render);
      }
      render();
    });
    source.addEventListener('failure', (event) => {
      heard = Date.now();
      const failure = JSON.parse(event.data);
      const supervisor = state.supervisors.find(({ key }) => key === failure.supervisor);
      if (!supervisor || supervisor.failures.some(({ id, time }) => id === failure.id && time === failure.time)) return;
      supervisor.failures = [failure, ...supervisor.failures].slice(0, 200);
      if (Date.now() - rendered > 100) render();
    });
    source.onerror = disconnected;
  }

  async function disconnected() {
    if (source) source.close();
    source = null;
    show(false);
    if (HAS_TOKEN) {
      // A program that was started again does not know the cookie.
      const status = await fetch(`${BASE}api/tasks/0`).then((answer) => answer.status, () => 0);
      if (status === 401) return location.reload();
    }
    setTimeout(connect, 1e3);
  }

  setInterval(async () => {
    if (source && Date.now() - heard > SILENCE) disconnected();
    if (!connected || document.hidden) return;
    await loadHistory(5);
    if (Date.now() - rendered > 500) render();
  }, 1e3);

  byId('filter').addEventListener('input', render);
  connect();
})();
