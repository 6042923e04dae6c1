// The address of the page is known to the browser only: a proxy may have changed its path.
'use strict';
const base = location.pathname.replace(/\/(login)?$/, '');
document.getElementById('form').action = base + '/login';
document.getElementById('path').value = base;
