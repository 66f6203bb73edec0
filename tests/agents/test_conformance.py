"""Every agent that is registered passes the conformance kit; a new one is tested here without another line."""

import pytest

from autoprune import agents
from autoprune.testing.agent import AgentTests


class TestAgents(AgentTests):
    @pytest.fixture(autouse=True, params=agents.AGENTS)
    def registered(self, request):
        self.agent = agents.get(request.param)
        self.draws = not self.agent.is_baseline
