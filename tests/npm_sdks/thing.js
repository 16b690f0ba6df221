// A thermostat: executes a command as `thingif listen --exec` hands it over, and puts its state by `thingif call`.
'use strict';
const { execFileSync } = require('node:child_process');
const { readFileSync, writeFileSync } = require('node:fs');

const { THINGIF, STATE_FILE } = process.env;
const { actions } = JSON.parse(readFileSync(0, 'utf8'));
const state = JSON.parse(readFileSync(STATE_FILE, 'utf8'));
for (const action of actions) {
  for (const [name, asked] of Object.entries(action)) {
    switch (name) {
      case 'turnPower':
        state.power = asked.power;
        break;
      case 'setPresetTemperature':
        if (asked.presetTemperature > 30) {
          console.error(`${asked.presetTemperature} degrees are too many`);
          process.exit(1);
        }
        state.presetTemperature = asked.presetTemperature;
        break;
      default:
        console.error(`a thermostat cannot ${name}`);
        process.exit(1);
    }
  }
}
writeFileSync(STATE_FILE, JSON.stringify(state));
execFileSync(THINGIF, ['call', 'PUT', 'targets/thing:{thing}/states', '--fail', '-d', JSON.stringify(state)]);
